// A long trace is read step by step, as often as a short one, and no step costs more for those before it.
#include <gtest/gtest.h>

#include "flashmoe/trace.h"
#include "support/allocation_count.h"
#include "support/made_up_trace.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

struct Work {
  uint64_t n_allocations = 0;
  uint64_t n_steps = 0;  // read in all passes
};

class TraceLength : public testing::Test {
 protected:
  template <typename Reader>
  Work work(int n_decoded, const Reader& reader) {
    const std::string path = made_up_trace(dir_ / "long.trace", n_decoded, 64 << 20);
    Work work;
    const TraceQuestion question{.path = path, .on_progress = [&](const Progress& step) { work.n_steps = step.total; }};
    const uint64_t before = allocation_count();
    reader(question);
    work.n_allocations = allocation_count() - before;
    return work;
  }
  // Twice as many tokens: as many passes, and no more allocations but those of lists that grow by doubling.
  template <typename Reader>
  void expect_steady(int n_passes, const Reader& reader) {
    constexpr int kTokens = 3000;
    constexpr uint64_t kDoublings = 200;
    const Work once = work(kTokens, reader), twice = work(2 * kTokens, reader);
    EXPECT_EQ(once.n_steps, static_cast<uint64_t>(n_passes) * (kTokens + 1));
    EXPECT_EQ(twice.n_steps, static_cast<uint64_t>(n_passes) * (2 * kTokens + 1));
    EXPECT_LE(twice.n_allocations, once.n_allocations + kDoublings);
  }
  TempDir dir_;
};

TEST_F(TraceLength, CostsAnAnalysisTwoPassesAndNoMemory) {
  expect_steady(2, [](const TraceQuestion& question) { analyse_trace(question); });
}

TEST_F(TraceLength, CostsASimulationTwoPassesAndNoMemory) {
  expect_steady(2, [](const TraceQuestion& question) {
    const WhatIf settings[] = {{}, {.cache_share = 0.5}, {.disk_gb_per_s = 7}};
    simulate_trace(question, settings);
  });
}

}  // namespace
}  // namespace flashmoe
