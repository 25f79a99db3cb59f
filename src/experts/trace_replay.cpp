#include "experts/trace_replay.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "experts/cache.h"
#include "experts/trace_policies.h"
#include "experts/use_record.h"

namespace flashmoe {
namespace {

// The bookkeeping of StreamedExperts: the same calls of the same cache in the same order, waves, guesses and all.
class EngineReplay final : public ReplayCache {
 public:
  EngineReplay(const TraceHeader& header, const std::vector<SlotClass>& classes, GivenBack given_back)
      : n_experts_(header.n_experts),
        reads_unasked_(header.has_unasked),
        gives_back_(given_back == GivenBack::as_recorded),
        cache_(header.n_layers, header.n_experts, cache_classes(classes)),
        classes_(classes) {
    guessed_.assign(static_cast<size_t>(header.n_layers) * static_cast<size_t>(header.n_experts), false);
    count_slots();
    if (!header.rates.empty()) cache_.expect(header.rates);
    if (header.has_unasked) warm_up_ = most_used_first(header.n_layers, header.n_experts, header.rates);
  }

  void pick(const TraceStep& step, size_t layer, ReplayMisses& missed) override {
    missed.absent.clear();
    missed.guessed.clear();
    const TraceLayer& picks = step.layers[layer];
    if (layer == 0 && gives_back_) give_back(step.given_back);
    if (reads_unasked_) warm_up(picks.n_warmed_up);
    first_row_.assign(1, 0);
    for (const int32_t n : picks.n_picks) first_row_.push_back(first_row_.back() + n);
    const size_t n = picks.distinct.size();
    const size_t wave = n <= max_picks_ ? n : std::max<size_t>(1, max_picks_ / 2);
    for (size_t first = 0; first < n; first += wave) {
      if (2 * wave > max_picks_) release(lease_);  // there is no room for two
      acquire(static_cast<int>(layer), picks, step.n_rows, first, std::min(wave, n - first), missed);
      release(lease_);  // the wave before
      std::swap(lease_, following_);
    }
    drop_guesses();
    const bool reads_ahead = reads_unasked_ && layer + 1 < step.layers.size();
    if (reads_ahead) read_ahead(static_cast<int>(layer) + 1, picks, picks.n_guessed_beside);
    release(lease_);
    if (reads_ahead) read_ahead(static_cast<int>(layer) + 1, picks, picks.n_guessed);
  }

  bool holds(int layer, int expert) const override { return cache_.find(layer, expert) != ExpertCache::kNoSlot; }

 private:
  void count_slots() {
    max_picks_ = guessed_.size();
    for (size_t c = 0; c < classes_.size(); ++c) {
      const int n_slots = cache_.n_in_use(static_cast<int>(c));
      if (n_slots < classes_[c].n_records) max_picks_ = std::min(max_picks_, static_cast<size_t>(n_slots));
    }
  }

  // Until as many slots [classes] are out of use as in the run; at a moment when none is pinned.
  void give_back(std::span<const int32_t> n_slots) {
    for (size_t c = 0; c < n_slots.size(); ++c) {
      const int n_wanted = classes_[c].n_slots - n_slots[c];
      while (cache_.n_in_use(static_cast<int>(c)) > n_wanted) CHECK(cache_.retire(static_cast<int>(c)).has_value());
      while (cache_.n_in_use(static_cast<int>(c)) < n_wanted) cache_.restore(static_cast<int>(c));
    }
    count_slots();
  }

  // Into following_.
  void acquire(int layer, const TraceLayer& picks, int n_rows, size_t first, size_t n, ReplayMisses& missed) {
    const auto experts = std::span(picks.distinct).subspan(first, n);
    cache_.use(layer, {experts, std::span(first_row_).subspan(first, n + 1), n_rows});
    following_.assign(n, ExpertCache::kNoSlot);
    for (size_t i = 0; i < n; ++i) {
      following_[i] = cache_.find(layer, experts[i]);
      if (following_[i] == ExpertCache::kNoSlot) continue;
      cache_.pin(following_[i]);
      if (guessed_[record(layer, experts[i])]) missed.guessed.push_back(experts[i]);
    }
    for (size_t i = 0; i < n; ++i) {
      if (following_[i] != ExpertCache::kNoSlot) continue;
      missed.absent.push_back(experts[i]);
      following_[i] = take(layer, experts[i]);
    }
  }

  int take(int layer, int expert) {
    int slot = cache_.take(layer, expert);
    if (slot == ExpertCache::kNoSlot) {
      drop_guesses();
      slot = cache_.take(layer, expert);
    }
    CHECK(slot != ExpertCache::kNoSlot);
    return slot;
  }

  // Until as many are read as the run had read, of those that this cache lacks. A prompt's step that lists none, of an
  // earlier version, guessed all.
  void read_ahead(int layer, const TraceLayer& from, uint64_t n_read) {
    const auto n_listed = from.guesses.empty() ? static_cast<size_t>(n_experts_) : from.guesses.size();
    for (size_t i = 0; i < n_listed && guesses_.size() < n_read; ++i) {
      const int32_t expert = from.guesses.empty() ? static_cast<int32_t>(i) : from.guesses[i];
      if (cache_.find(layer, expert) != ExpertCache::kNoSlot) continue;
      const int slot = cache_.take(layer, expert);
      if (slot == ExpertCache::kNoSlot) return;
      guesses_.push_back(slot);
      guessed_[record(layer, expert)] = true;
    }
  }
  void drop_guesses() {
    for (const int slot : guesses_) {
      const ExpertId id = cache_.held(slot);
      guessed_[record(id.layer, id.expert)] = false;
      cache_.unpin(slot);
    }
    guesses_.clear();
  }

  void warm_up(uint64_t n) {
    for (const size_t end = std::min<uint64_t>(warm_up_.size(), n_warmed_up_ + n); n_warmed_up_ < end; ++n_warmed_up_) {
      const ExpertId id = warm_up_[n_warmed_up_];
      if (holds(id.layer, id.expert)) continue;
      const int slot = cache_.take_empty(id.layer, id.expert);
      if (slot == ExpertCache::kNoSlot) return;
      cache_.unpin(slot);
    }
  }

  void release(std::vector<int>& slots) {
    for (const int slot : slots) cache_.unpin(slot);
    slots.clear();
  }
  size_t record(int layer, int expert) const {
    return static_cast<size_t>(layer) * static_cast<size_t>(n_experts_) + static_cast<size_t>(expert);
  }

  int n_experts_;
  bool reads_unasked_, gives_back_;
  ExpertCache cache_;
  std::vector<SlotClass> classes_;
  size_t max_picks_ = 0;
  std::vector<int32_t> first_row_;
  std::vector<int> lease_, following_;
  std::vector<int> guesses_;   // slots, pinned until that layer has its picks or there is no room
  std::vector<bool> guessed_;  // [n_layers, n_experts], of guesses_
  std::vector<ExpertId> warm_up_;
  size_t n_warmed_up_ = 0;
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
                                               const std::vector<SlotClass>& classes, GivenBack given_back,
                                               const FutureUses* future) {
  if (policy == CachePolicy::two_timescale) return std::make_unique<EngineReplay>(header, classes, given_back);
  PolicySlots slots{.given_back = given_back == GivenBack::as_recorded};
  for (const SlotClass& of_class : classes) slots.n += static_cast<size_t>(of_class.n_slots);
  return make_policy_cache(policy, header, slots, future);
}

}  // namespace flashmoe
