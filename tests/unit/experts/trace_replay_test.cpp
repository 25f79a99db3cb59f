// Routing traces of real models through the cache, without reading anything: does the policy keep what it promises?
#include <gtest/gtest.h>

#include <string>

#include "support/recorded_traces.h"

namespace flashmoe {
namespace {

struct Case {
  const char* file;
  int n_experts;
  int share_percent;  // of all experts that have a slot, rounded up to a slot
  // What a simulation of the two-timescale policy reached in which an expert that is not admitted takes no slot, so
  // that what a layer computes from is held beside the cache.
  double hit_percent;
};

class TraceReplay : public testing::TestWithParam<Case> {};

TEST_P(TraceReplay, HitsAsOftenAsTheSimulation) {
  const Case& c = GetParam();
  const auto path = trace_path(c.file);
  if (!path) GTEST_SKIP() << "the trace is absent";
  const RoutingTrace trace = load_trace(*path);
  ASSERT_GE(trace.size(), 299u);
  const int n_slots = n_slots_of(trace, c.n_experts, c.share_percent), n_used = static_cast<int>(trace[0][0].size());
  const double measured = hit_percent(trace, c.n_experts, n_slots + n_used, {});
  RecordProperty("hit_percent", std::to_string(measured));
  EXPECT_GE(measured, c.hit_percent);
  // The share of one token's working set that it gives up to compute from, and no more, is what sharing slots costs.
  EXPECT_GE(hit_percent(trace, c.n_experts, n_slots, {}), c.hit_percent - 1.3);
}

// From the floor on every slot counts: less than a token's working set is not nothing.
TEST(TraceReplayBelowAWorkingSet, HasNoCliff) {
  const auto path = trace_path("olmoe_299.jsonl");
  if (!path) GTEST_SKIP() << "the trace is absent";
  const RoutingTrace trace = load_trace(*path);  // 16 layers, 8 picks: 128 experts a token
  double before = hit_percent(trace, 64, 8, {});
  for (int n_slots = 16; n_slots <= 160; n_slots += 8) {
    const double hits = hit_percent(trace, 64, n_slots, {});
    EXPECT_GT(hits, before + 0.5) << n_slots;
    before = hits;
  }
}

INSTANTIATE_TEST_SUITE_P(Traces, TraceReplay,
                         testing::Values(Case{"kimi_linear_300.jsonl", 256, 5, 42.9},
                                         Case{"kimi_linear_300.jsonl", 256, 10, 56.5},
                                         Case{"kimi_linear_300.jsonl", 256, 20, 69.6},
                                         Case{"kimi_linear_300.jsonl", 256, 30, 77.8},
                                         Case{"olmoe_299.jsonl", 64, 5, 25.0}, Case{"olmoe_299.jsonl", 64, 10, 37.4},
                                         Case{"olmoe_299.jsonl", 64, 20, 54.4}, Case{"olmoe_299.jsonl", 64, 30, 65.6}));

}  // namespace
}  // namespace flashmoe
