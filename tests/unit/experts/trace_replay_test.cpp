// Routing traces of real models through the cache, without reading anything: does the policy keep what it promises?
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "experts/cache.h"

namespace flashmoe {
namespace {

std::filesystem::path trace_path(const std::string& name) {
  const char* shared = std::getenv("FLASHMOE_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : FLASHMOE_SOURCE_DIR "/../shared") / "traces" / name;
}

using Trace = std::vector<std::vector<std::vector<int32_t>>>;  // [tokens][layers][picks]

Trace load_trace(const std::filesystem::path& path) {
  Trace trace;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    trace.push_back(nlohmann::json::parse(line).at("layers").get<std::vector<std::vector<int32_t>>>());
  }
  return trace;
}

double hit_percent(const Trace& trace, int n_experts, int n_slots) {
  const int n_layers = static_cast<int>(trace.at(0).size());
  std::vector<int> layers(static_cast<size_t>(n_layers));
  std::iota(layers.begin(), layers.end(), 0);
  ExpertCache cache(n_layers, n_experts, {{layers, n_slots}});
  uint64_t n_hits = 0, n_picks = 0;
  std::vector<int> pinned;
  for (const auto& token : trace) {
    for (int layer = 0; layer < n_layers; ++layer) {
      const std::vector<int32_t>& picks = token[static_cast<size_t>(layer)];
      cache.use(layer, picks);
      pinned.clear();
      for (const int32_t expert : picks) {
        const int slot = cache.find(layer, expert);
        if (slot == ExpertCache::kNoSlot) continue;
        cache.pin(slot);
        pinned.push_back(slot);
      }
      n_hits += pinned.size();
      n_picks += picks.size();
      for (const int32_t expert : picks) {
        if (cache.find(layer, expert) == ExpertCache::kNoSlot) pinned.push_back(cache.take(layer, expert));
      }
      for (const int slot : pinned) cache.unpin(slot);
    }
  }
  return 100.0 * static_cast<double>(n_hits) / static_cast<double>(n_picks);
}

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
  const Trace trace = load_trace(path);
  ASSERT_GE(trace.size(), 299u);
  const int n_records = static_cast<int>(trace[0].size()) * c.n_experts;
  const double measured = hit_percent(trace, c.n_experts, (n_records * c.share_percent + 99) / 100);
  RecordProperty("hit_percent", std::to_string(measured));
  EXPECT_GE(measured, c.hit_percent - 1.5);
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
