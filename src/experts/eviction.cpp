#include "experts/eviction.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace flashmoe {
namespace {

// Keeps the forecast of an expert that was never picked finite.
constexpr float kLeastChance = 1e-4F;
constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr int kNone = -1, kUnknown = -2;

}  // namespace

Eviction::Eviction(int n_layers, int n_experts, const EvictionRates& rates)
    : n_layers_(n_layers), n_experts_(n_experts), rates_(rates) {
  CHECK(n_layers > 0 && n_experts > 0);
  const size_t n = at(n_layers, 0);
  fast_.assign(n, 0.0F);
  slow_.assign(n, 0.0F);
  forecast_.assign(n, 0.0);
  key_.assign(n, kNever);
  last_.assign(static_cast<size_t>(n_layers), kNone);
  for (size_t i = 1; i < keep_.size(); ++i)
    keep_[i] = {keep_[i - 1].fast * (1 - rates.fast), keep_[i - 1].slow * (1 - rates.slow)};
}

void Eviction::use(int layer, const Picks& picks) {
  const size_t first = at(layer, 0), end = at(layer + 1, 0);
  const auto n = static_cast<int>(std::clamp<int64_t>(picks.n_rows, 1, kMostRows));
  const float keep_fast = keep_[static_cast<size_t>(n)].fast, keep_slow = keep_[static_cast<size_t>(n)].slow;
  if (layer != current_layer_ || n_layers_ == 1) {
    current_layer_ = layer;
    ++passes_;
    for (size_t i = first; i < end; ++i) {
      fast_[i] *= keep_fast;
      slow_[i] *= keep_slow;
    }
  }
  for (size_t i = 0; i < picks.experts.size(); ++i) {
    const size_t e = at(layer, picks.experts[i]);
    const float share = static_cast<float>(picks.rows_of(i)) / static_cast<float>(std::max<int64_t>(picks.n_rows, 1));
    fast_[e] = std::min(1.0F, fast_[e] + (1 - keep_fast) * share);
    slow_[e] = std::min(1.0F, slow_[e] + (1 - keep_slow) * share);
  }
  forecast(layer);
}

void Eviction::expect(std::span<const float> rates) {
  CHECK(rates.size() == slow_.size());
  for (size_t i = 0; i < rates.size(); ++i) fast_[i] = slow_[i] = std::clamp(rates[i], 0.0F, 1.0F);
  for (int layer = 0; layer < n_layers_; ++layer) forecast(layer);
}

void Eviction::forecast(int layer) {
  const size_t first = at(layer, 0), end = at(layer + 1, 0);
  for (size_t i = first; i < end; ++i) {
    const float chance = rates_.fast_weight * fast_[i] + (1 - rates_.fast_weight) * slow_[i] + kLeastChance;
    forecast_[i] = static_cast<double>(passes_) + static_cast<double>(static_cast<float>(n_layers_) / chance);
    key_[i] = key_[i] == kNever ? kNever : forecast_[i];
  }
  last_[static_cast<size_t>(layer)] = kUnknown;
}

void Eviction::set_candidate(int layer, int expert, bool on) {
  const size_t i = at(layer, expert);
  int& last = last_[static_cast<size_t>(layer)];
  if (on) {
    key_[i] = forecast_[i];
    if (last == kNone || (last != kUnknown && key_[i] > key_[at(layer, last)])) last = expert;
  } else {
    key_[i] = kNever;
    if (last == expert) last = kUnknown;
  }
}

void Eviction::find_last(int layer) {
  const double* keys = &key_[at(layer, 0)];
  const double* largest = std::max_element(keys, keys + n_experts_);
  last_[static_cast<size_t>(layer)] = *largest == kNever ? kNone : static_cast<int>(largest - keys);
}

std::optional<ExpertId> Eviction::victim(std::span<const int> layers) {
  std::optional<ExpertId> best;
  double best_key = kNever;
  for (const int layer : layers) {
    if (last_[static_cast<size_t>(layer)] == kUnknown) find_last(layer);
    const int expert = last_[static_cast<size_t>(layer)];
    if (expert == kNone || key_[at(layer, expert)] <= best_key) continue;
    best_key = key_[at(layer, expert)];
    best = ExpertId{layer, expert};
  }
  return best;
}

}  // namespace flashmoe
