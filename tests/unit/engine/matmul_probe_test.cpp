#include "engine/matmul_probe.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "support/expect_error.h"

namespace flashmoe {
namespace {

TEST(MatmulProbe, TimesEveryFormatAndKeepsWhatItMeasured) {
  ThreadPool pool(2);
  MatmulProbe probe(pool, best_kernels(), false, 8 * kMiB, {});
  for (int format = 0; format < kFormatCount; ++format) {
    MatmulShape shape{64, 512, static_cast<Format>(format)};
    if (n_scale_matrices(shape.format) > 0) shape.grid.group_cols = 64;
    if (shape.format == Format::mxfp4_split) shape.grid = {.type = ScaleType::e8m0, .group_cols = 32};
    const double seconds = probe.seconds(shape, 1);
    EXPECT_GT(seconds, 0) << format_info(shape.format).name;
    EXPECT_EQ(probe.seconds(shape, 1), seconds) << format_info(shape.format).name;
  }
}

TEST(MatmulProbe, MatricesBeyondTheWorkingSetAndManyRowsTakeInProportion) {
  ThreadPool pool(1);
  MatmulProbe probe(pool, best_kernels(), false, kMiB, {});
  const double part = probe.seconds({8192, 128, Format::f32}, 1);       // 4 MiB: a quarter of it is timed
  const double whole = probe.seconds({8 * 8192, 128, Format::f32}, 1);  // 32 MiB
  EXPECT_GT(whole, 3 * part);
  EXPECT_GT(probe.seconds({64, 128, Format::f32}, 640), 3 * probe.seconds({64, 128, Format::f32}, 64));
}

TEST(MatmulProbe, EndsWhenAskedTo) {
  ThreadPool pool(1);
  bool go_on = true;
  MatmulProbe probe(pool, best_kernels(), false, kMiB, [&] { return go_on; });
  go_on = false;
  expect_error([&] { probe.seconds({64, 128, Format::f32}, 1); }, Fault::interrupted, {"interrupted while"});
  expect_error([&] { MatmulProbe(pool, best_kernels(), false, kMiB, [] { return false; }); }, Fault::interrupted, {});
}

}  // namespace
}  // namespace flashmoe
