#include "experts/eviction.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace flashmoe {
namespace {

// Keeps the forecast of an expert that was never picked finite.
constexpr float kLeastChance = 1e-4F;
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr int kNone = -1, kUnknown = -2;

// The first of the largest; none where all are kNever. Maxima of many lanes, as one alone waits for itself: analysing a
// trace of 100,000 tokens spent 3.4 s of 13.6 s here.
std::optional<size_t> first_largest(std::span<const float> values) {
  constexpr size_t kLanes = 32;
  std::array<float, kLanes> lanes;
  lanes.fill(kNever);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane], largest = lanes[lane];
      lanes[lane] = value > largest ? value : largest;  // std::max stores where it branches, and is not vectorised
    }
  }
  for (; i < values.size(); ++i) lanes[i % kLanes] = std::max(lanes[i % kLanes], values[i]);
  const float largest = *std::max_element(lanes.begin(), lanes.end());
  if (largest == kNever) return std::nullopt;
  size_t first = values.size();
  for (size_t lane = 0; lane < kLanes; ++lane) {
    if (lanes[lane] != largest) continue;
    size_t at = lane;
    while (values[at] != largest) at += kLanes;
    first = std::min(first, at);
  }
  return first;
}

}  // namespace

Eviction::Eviction(int n_layers, int n_experts, const EvictionRates& rates)
    : n_layers_(n_layers), n_experts_(n_experts), rates_(rates) {
  CHECK(n_layers > 0 && n_experts > 0);
  const size_t n = at(n_layers, 0);
  fast_.assign(n, 0.0F);
  slow_.assign(n, 0.0F);
  passed_.assign(static_cast<size_t>(n_layers), 0);
  distance_.assign(n, 0.0F);
  candidates_.assign(n, kNever);
  last_.assign(static_cast<size_t>(n_layers), {kNone, kNever});
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
  const auto n_layers = static_cast<float>(n_layers_);
  passed_[static_cast<size_t>(layer)] = passes_;
  for (size_t i = first; i < end; ++i) {
    const float chance = rates_.fast_weight * fast_[i] + (1 - rates_.fast_weight) * slow_[i] + kLeastChance;
    distance_[i] = n_layers / chance;
    candidates_[i] = candidates_[i] == kNever ? kNever : distance_[i];
  }
  last_[static_cast<size_t>(layer)].expert = kUnknown;
}

void Eviction::set_candidate(int layer, int expert, bool on) {
  const size_t i = at(layer, expert);
  Last& last = last_[static_cast<size_t>(layer)];
  if (on) {
    candidates_[i] = distance_[i];
    const double next = expected(layer, distance_[i]);
    if (last.expert != kUnknown && next > last.expected) last = {expert, next};
  } else {
    candidates_[i] = kNever;
    if (last.expert == expert) last.expert = kUnknown;
  }
}

void Eviction::find_last(int layer) {
  const auto candidates = std::span(candidates_).subspan(at(layer, 0), static_cast<size_t>(n_experts_));
  const auto expert = first_largest(candidates);
  last_[static_cast<size_t>(layer)] =
      expert ? Last{static_cast<int>(*expert), expected(layer, candidates[*expert])} : Last{kNone, kNever};
}

std::optional<ExpertId> Eviction::victim(std::span<const int> layers) {
  ExpertId best;
  double best_expected = kNever;
  for (const int layer : layers) {
    const Last& last = last_[static_cast<size_t>(layer)];
    if (last.expert == kUnknown) find_last(layer);
    if (last.expected <= best_expected) continue;
    best_expected = last.expected;
    best = {layer, last.expert};
  }
  if (best_expected == static_cast<double>(kNever)) return std::nullopt;
  return best;
}

}  // namespace flashmoe
