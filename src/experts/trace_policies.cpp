#include "experts/trace_policies.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr double kLfuHalfLifeTokens = 8;

// Whoever has the smallest key goes first, the lower record among equals. A policy is what the key is.
class KeyedCache : public ReplayCache {
 public:
  KeyedCache(const TraceHeader& header, const PolicySlots& slots)
      : n_experts_(static_cast<size_t>(header.n_experts)), slots_(slots), n_slots_(slots.n) {
    key_.assign(static_cast<size_t>(header.n_layers) * n_experts_, 0);
    held_.assign(key_.size(), false);
  }

  void pick(const TraceStep& step, size_t layer, ReplayMisses& missed) final {
    missed.absent.clear();
    missed.guessed.clear();
    const TraceLayer& picks = step.layers[layer];
    if (layer == 0) begin(step);
    const size_t first = layer * n_experts_;
    for (const int32_t expert : picks.distinct) {
      const size_t record = first + static_cast<size_t>(expert);
      const double now = key(record);
      if (held_[record]) {
        order_.erase({key_[record], record});
      } else {
        missed.absent.push_back(expert);
        if (order_.size() >= n_slots_ && !evict(layer, picks)) continue;
        held_[record] = true;
      }
      key_[record] = now;
      order_.insert({key_[record], record});
    }
  }

  bool holds(int layer, int expert) const final {
    return held_[static_cast<size_t>(layer) * n_experts_ + static_cast<size_t>(expert)];
  }

 protected:
  // Of a record that is picked now; called once for each pick.
  virtual double key(size_t record) = 0;
  // Whether what the layer picks now is spared.
  virtual bool spares_picks() const { return false; }
  int64_t n_tokens() const { return n_tokens_; }
  size_t n_records() const { return key_.size(); }

 private:
  void begin(const TraceStep& step) {
    n_tokens_ += step.n_rows;
    if (!slots_.given_back) return;
    n_slots_ = slots_.n - static_cast<size_t>(std::accumulate(step.given_back.begin(), step.given_back.end(), 0));
    for (; order_.size() > n_slots_; order_.erase(order_.begin())) held_[order_.begin()->second] = false;
  }

  bool evict(size_t layer, const TraceLayer& picks) {
    for (auto victim = order_.begin(); victim != order_.end(); ++victim) {
      const size_t record = victim->second;
      const auto expert = static_cast<int32_t>(record % n_experts_);
      if (spares_picks() && record / n_experts_ == layer &&
          std::binary_search(picks.distinct.begin(), picks.distinct.end(), expert)) {
        continue;
      }
      held_[record] = false;
      order_.erase(victim);
      return true;
    }
    return false;
  }

  size_t n_experts_;
  PolicySlots slots_;
  size_t n_slots_;  // of this step
  int64_t n_tokens_ = 0;
  std::vector<double> key_;  // [n_layers, n_experts]
  std::vector<bool> held_;
  std::set<std::pair<double, size_t>> order_;  // key, record
};

class Lru final : public KeyedCache {
 public:
  using KeyedCache::KeyedCache;

 private:
  double key(size_t) override { return n_picks_++; }
  double n_picks_ = 0;
};

// Uses counted with a weight that halves every kLfuHalfLifeTokens. All weights fade alike, so that the logarithm of
// what they were at token 0 stays in order.
class Lfu final : public KeyedCache {
 public:
  Lfu(const TraceHeader& header, const PolicySlots& slots) : KeyedCache(header, slots) {
    uses_.assign(n_records(), {});
  }

 private:
  struct Uses {
    double weight = 0;
    double token = 0;  // when it was counted last
  };
  double key(size_t record) override {
    Uses& uses = uses_[record];
    const auto now = static_cast<double>(n_tokens());
    uses.weight = uses.weight * std::exp2((uses.token - now) / kLfuHalfLifeTokens) + 1;
    uses.token = now;
    return std::log2(uses.weight) + now / kLfuHalfLifeTokens;
  }
  bool spares_picks() const override { return true; }
  std::vector<Uses> uses_;
};

// Knows what comes, and lets go of what is needed last.
class Belady final : public KeyedCache {
 public:
  Belady(const TraceHeader& header, const PolicySlots& slots, const FutureUses& future)
      : KeyedCache(header, slots), future_(future) {}

 private:
  double key(size_t) override { return -static_cast<double>(future_.next_use(n_picks_++)); }
  const FutureUses& future_;
  size_t n_picks_ = 0;
};

}  // namespace

std::unique_ptr<ReplayCache> make_policy_cache(CachePolicy policy, const TraceHeader& header, const PolicySlots& slots,
                                               const FutureUses* future) {
  switch (policy) {
    case CachePolicy::lru:
      return std::make_unique<Lru>(header, slots);
    case CachePolicy::lfu:
      return std::make_unique<Lfu>(header, slots);
    case CachePolicy::belady:
      CHECK(future != nullptr);
      return std::make_unique<Belady>(header, slots, *future);
    case CachePolicy::two_timescale:
      break;
  }
  CHECK(false);
}

}  // namespace flashmoe
