// Textbook eviction policies, to hold the engine's own against.
#pragma once

#include <memory>

#include "experts/trace_replay.h"

namespace flashmoe {

// lru, lfu or belady over `n_slots` slots for any expert. Picks of a layer are taken one after the other.
std::unique_ptr<ReplayCache> make_policy_cache(CachePolicy policy, const TraceHeader& header, size_t n_slots,
                                               const FutureUses* future);

}  // namespace flashmoe
