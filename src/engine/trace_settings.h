// The caches of settings that were not recorded.
#pragma once

#include <vector>

#include "experts/routing_trace.h"
#include "flashmoe/trace.h"

namespace flashmoe {

// The slots that a setting's cache has. `expert_bytes`: of one, in the setting's format; 0: not known. Throws
// Error{usage} when the setting cannot be.
std::vector<SlotClass> slots_of(const TraceHeader& header, const WhatIf& setting, double expert_bytes);
// The bytes of an expert in the setting's format, as slots have them: `recorded` when it says none.
double expert_bytes_of(const TraceHeader& header, const WhatIf& setting, double recorded);
// Of all experts, that have a slot when so many slots are out of use.
double share_of(const TraceHeader& header, const std::vector<SlotClass>& classes, double n_out_of_use);
// Of all experts, that an engine needs at least: a place for each pick of a token's layer.
double least_share_of(const TraceHeader& header);

}  // namespace flashmoe
