// Textbook eviction policies, to hold the engine's own against.
#pragma once

#include <memory>

#include "experts/trace_replay.h"

namespace flashmoe {

struct PolicySlots {
  size_t n = 0;             // for any expert
  bool given_back = false;  // fewer while the run had given some back
};

// lru, lfu or belady. Picks of a layer are taken one after the other.
std::unique_ptr<ReplayCache> make_policy_cache(CachePolicy policy, const TraceHeader& header, const PolicySlots& slots,
                                               const FutureUses* future);

}  // namespace flashmoe
