// Routing traces of real models, and how often a cache would have had what they pick.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experts/eviction.h"

namespace flashmoe {

using RoutingTrace = std::vector<std::vector<std::vector<int32_t>>>;  // [tokens][layers][picks]

// Where a trace of that name is; nothing: it is not there (support/shared_data.h).
std::optional<std::string> trace_path(const std::string& name);
RoutingTrace load_trace(const std::string& path);

// Slots for a share of all experts, rounded up.
int n_slots_of(const RoutingTrace& trace, int n_experts, int share_percent);

// Through a cache that starts empty; what a token picks of a layer is pinned together.
double hit_percent(const RoutingTrace& trace, int n_experts, int n_slots, const EvictionRates& rates);

}  // namespace flashmoe
