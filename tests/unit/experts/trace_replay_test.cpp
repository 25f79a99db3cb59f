// Routing traces of real models through the cache, without reading anything: does the policy keep what it promises?
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/routing_trace.h"

namespace flashmoe {
namespace {

using test::hit_percent;
using test::load_trace;
using test::n_slots_of;
using test::RoutingTrace;
using test::trace_path;

constexpr double kTolerance = 1.5;

struct Case {
  const char* file;
  int n_experts;
  int share_percent;   // of all experts that have a slot, rounded up to a slot
  double hit_percent;  // what a simulation of the two-timescale policy reached
};

class TraceReplay : public testing::TestWithParam<Case> {};

TEST_P(TraceReplay, HitsAsOftenAsTheSimulation) {
  const Case& c = GetParam();
  const auto path = trace_path(c.file);
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const RoutingTrace trace = load_trace(path);
  ASSERT_GE(trace.size(), 299u);
  const double measured = hit_percent(trace, c.n_experts, n_slots_of(trace, c.n_experts, c.share_percent), {});
  RecordProperty("hit_percent", std::to_string(measured));
  EXPECT_GE(measured, c.hit_percent - kTolerance);
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
