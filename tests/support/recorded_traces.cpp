#include "support/recorded_traces.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "experts/cache.h"
#include "support/shared_data.h"

namespace flashmoe {

std::optional<std::string> trace_path(const std::string& name) { return shared_path("traces/" + name); }

RoutingTrace load_trace(const std::string& path) {
  RoutingTrace trace;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    trace.push_back(nlohmann::json::parse(line).at("layers").get<std::vector<std::vector<int32_t>>>());
  }
  return trace;
}

int n_slots_of(const RoutingTrace& trace, int n_experts, int share_percent) {
  const int n_records = static_cast<int>(trace.at(0).size()) * n_experts;
  return (n_records * share_percent + 99) / 100;
}

double hit_percent(const RoutingTrace& trace, int n_experts, int n_slots, const EvictionRates& rates) {
  const int n_layers = static_cast<int>(trace.at(0).size());
  std::vector<int> layers(static_cast<size_t>(n_layers));
  std::iota(layers.begin(), layers.end(), 0);
  ExpertCache cache(n_layers, n_experts, {{layers, n_slots}}, rates);
  uint64_t n_hits = 0, n_picks = 0;
  std::vector<int> pinned;
  for (const auto& token : trace) {
    for (int layer = 0; layer < n_layers; ++layer) {
      const std::vector<int32_t>& picks = token[static_cast<size_t>(layer)];
      cache.use(layer, Picks(picks));
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

}  // namespace flashmoe
