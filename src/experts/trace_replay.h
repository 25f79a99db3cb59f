// Routing traces through a cache, without reading anything: what would have been in memory?
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "experts/routing_trace.h"
#include "flashmoe/trace.h"

namespace flashmoe {

// Picks that a layer's cache did not hold.
struct ReplayMisses {
  std::vector<int32_t> absent;   // had to be waited for
  std::vector<int32_t> guessed;  // were read on a guess
  size_t n() const { return absent.size() + guessed.size(); }
  // Of so many distinct picks.
  void count(size_t n_picks, CacheStats& stats) const {
    stats.misses += n();
    stats.hits += n_picks - n();
  }
};

// How many slots a replayed cache is without.
enum class GivenBack {
  as_recorded,  // those that the recorded one was without, since others had their memory
  none
};

class ReplayCache {
 public:
  virtual ~ReplayCache() = default;
  // The picks of a layer of the step are asked for, and come in. Layers in their order.
  virtual void pick(const TraceStep& step, size_t layer, ReplayMisses& missed) = 0;
  virtual bool holds(int layer, int expert) const = 0;
};

// How often each expert, by layer, is picked next: for the policy that knows the future.
class FutureUses {
 public:
  explicit FutureUses(int n_layers, int n_experts);
  // Every step's picks, in order, before anything is asked.
  void note(int layer, const TraceLayer& picks);
  // When the n-th noted pick's expert is picked again; kNever: not.
  static constexpr uint32_t kNever = UINT32_MAX;
  uint32_t next_use(size_t n) const { return next_[n]; }

 private:
  size_t n_experts_;
  std::vector<uint32_t> next_;
  std::vector<uint32_t> last_;  // [n_layers, n_experts]
};

// two_timescale is the engine's own cache (experts/cache.h), with `header`'s rates at the start and, where the trace
// tells of them, its reads ahead and while idle; the others have as many slots for experts of any layer, and read what
// is picked. Belady needs the future of the whole trace, which must outlive the cache.
std::unique_ptr<ReplayCache> make_replay_cache(CachePolicy policy, const TraceHeader& header,
                                               const std::vector<SlotClass>& classes, GivenBack given_back,
                                               const FutureUses* future);

}  // namespace flashmoe
