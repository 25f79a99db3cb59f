#include "engine/roof_probe.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/bytes.h"

namespace flashmoe {
namespace {

// The sanitizer sees a read behind the end.
TEST(RamSampler, GoesRoundWithinItsMemory) {
  const std::vector<std::byte> memory(257 * kMiB + 5, std::byte{1});
  ThreadPool pool(2);
  RamSampler sampler(pool, memory);
  for (int i = 0; i < 10; ++i) EXPECT_GT(sampler.sample(), 0);
}

TEST(RamSampler, DoesNotTellOfWhatCachesHold) {
  const std::vector<std::byte> memory(255 * kMiB, std::byte{1});
  ThreadPool pool(1);
  EXPECT_EQ(RamSampler(pool, memory).sample(), 0);
  EXPECT_EQ(RamSampler(pool, {}).sample(), 0);
}

TEST(MeasureRam, TakesLessThanAPassToo) {
  ThreadPool pool(2);
  EXPECT_GT(measure_ram(pool, 1 << 20, {}), 0);
  EXPECT_GT(measure_ram(pool, 100 * kMiB, {}), 0);  // no multiple of a pass
}

}  // namespace
}  // namespace flashmoe
