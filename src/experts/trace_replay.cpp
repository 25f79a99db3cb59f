#include "experts/trace_replay.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "experts/cache.h"
#include "experts/trace_policies.h"

namespace flashmoe {
namespace {

// The bookkeeping of StreamedExperts: the same calls of the same cache in the same order, waves and all.
class EngineReplay final : public ReplayCache {
 public:
  EngineReplay(const TraceHeader& header, const std::vector<SlotClass>& classes)
      : cache_(header.n_layers, header.n_experts, cache_classes(classes)) {
    max_picks_ = static_cast<size_t>(header.n_layers) * static_cast<size_t>(header.n_experts);
    for (const SlotClass& slots : classes) {
      if (slots.n_slots < slots.n_records) max_picks_ = std::min(max_picks_, static_cast<size_t>(slots.n_slots));
    }
    if (!header.rates.empty()) cache_.expect(header.rates);
  }

  void pick(int layer, const TraceLayer& picks, int n_rows, std::vector<int32_t>& missed) override {
    missed.clear();
    first_row_.assign(1, 0);
    for (const int32_t n : picks.n_picks) first_row_.push_back(first_row_.back() + n);
    const size_t n = picks.distinct.size();
    const size_t wave = n <= max_picks_ ? n : std::max<size_t>(1, max_picks_ / 2);
    for (size_t first = 0; first < n; first += wave) {
      if (2 * wave > max_picks_) release(lease_);  // there is no room for two
      acquire(layer, picks, n_rows, first, std::min(wave, n - first), following_, missed);
      release(lease_);  // the wave before
      std::swap(lease_, following_);
    }
    release(lease_);
  }

  bool holds(int layer, int expert) const override { return cache_.find(layer, expert) != ExpertCache::kNoSlot; }

 private:
  void acquire(int layer, const TraceLayer& picks, int n_rows, size_t first, size_t n, std::vector<int>& slots,
               std::vector<int32_t>& missed) {
    const auto experts = std::span(picks.distinct).subspan(first, n);
    cache_.use(layer, {experts, std::span(first_row_).subspan(first, n + 1), n_rows});
    slots.assign(n, ExpertCache::kNoSlot);
    for (size_t i = 0; i < n; ++i) {
      slots[i] = cache_.find(layer, experts[i]);
      if (slots[i] != ExpertCache::kNoSlot) cache_.pin(slots[i]);
    }
    for (size_t i = 0; i < n; ++i) {
      if (slots[i] != ExpertCache::kNoSlot) continue;
      missed.push_back(experts[i]);
      slots[i] = cache_.take(layer, experts[i]);
      CHECK(slots[i] != ExpertCache::kNoSlot);
    }
  }
  void release(std::vector<int>& slots) {
    for (const int slot : slots) cache_.unpin(slot);
    slots.clear();
  }

  ExpertCache cache_;
  size_t max_picks_ = 0;
  std::vector<int32_t> first_row_;
  std::vector<int> lease_, following_;
};

}  // namespace

FutureUses::FutureUses(int n_layers, int n_experts)
    : n_experts_(static_cast<size_t>(n_experts)), last_(static_cast<size_t>(n_layers) * n_experts_, kNever) {}

void FutureUses::note(int layer, const TraceLayer& picks) {
  if (next_.size() + picks.distinct.size() >= kNever) {
    fail(Fault::unsupported, "the trace has more picks than the policy belady can look ahead over");
  }
  for (const int32_t expert : picks.distinct) {
    const auto now = static_cast<uint32_t>(next_.size());
    const uint32_t before =
        std::exchange(last_[static_cast<size_t>(layer) * n_experts_ + static_cast<size_t>(expert)], now);
    if (before != kNever) next_[before] = now;
    next_.push_back(kNever);
  }
}

std::unique_ptr<ReplayCache> make_replay_cache(CachePolicy policy, const TraceHeader& header,
                                               const std::vector<SlotClass>& classes, const FutureUses* future) {
  if (policy == CachePolicy::two_timescale) return std::make_unique<EngineReplay>(header, classes);
  size_t n_slots = 0;
  for (const SlotClass& slots : classes) n_slots += static_cast<size_t>(slots.n_slots);
  return make_policy_cache(policy, header, n_slots, future);
}

}  // namespace flashmoe
