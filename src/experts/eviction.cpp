#include "experts/eviction.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace flashmoe {
namespace {

// Hit rates in % on routing traces of two models, with slots for 5, 10, 20, 30 % of the experts:
//   alpha 0.30, weight 0.50: 256 experts, top-8: 44.3 57.1 69.6 77.9; 64 experts, top-8: 23.0 37.1 55.3 65.9
//   alpha 0.65, weight 0.35: 256 experts, top-8: 44.3 56.9 70.1 78.0; 64 experts, top-8: 23.4 38.7 56.0 66.3
constexpr float kFast = 0.65F, kSlow = 0.03F;  // alpha
constexpr float kFastWeight = 0.35F;
// Keeps the forecast of an expert that was never picked finite.
constexpr float kLeastChance = 1e-4F;
constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr int kNone = -1, kUnknown = -2;

}  // namespace

Eviction::Eviction(int n_layers, int n_experts) : n_layers_(n_layers), n_experts_(n_experts) {
  CHECK(n_layers > 0 && n_experts > 0);
  const size_t n = at(n_layers, 0);
  fast_.assign(n, 0.0F);
  slow_.assign(n, 0.0F);
  forecast_.assign(n, 0.0);
  key_.assign(n, kNever);
  last_.assign(static_cast<size_t>(n_layers), kNone);
}

void Eviction::use(int layer, std::span<const int32_t> experts) {
  const size_t first = at(layer, 0), end = at(layer + 1, 0);
  if (layer != current_layer_ || n_layers_ == 1) {
    current_layer_ = layer;
    ++passes_;
    for (size_t i = first; i < end; ++i) {
      fast_[i] *= 1 - kFast;
      slow_[i] *= 1 - kSlow;
    }
  }
  for (const int32_t expert : experts) {
    fast_[at(layer, expert)] = std::min(1.0F, fast_[at(layer, expert)] + kFast);
    slow_[at(layer, expert)] = std::min(1.0F, slow_[at(layer, expert)] + kSlow);
  }
  for (size_t i = first; i < end; ++i) {
    const float chance = kFastWeight * fast_[i] + (1 - kFastWeight) * slow_[i] + kLeastChance;
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
