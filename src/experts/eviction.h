// Which cached expert is needed last? A forecast from how often and how recently each was picked.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "experts/source.h"

namespace flashmoe {

struct ExpertId {
  int layer = 0;
  int expert = 0;
};

// Hit rates in % on routing traces of two models, with slots for 5, 10, 20, 30 % of the experts (bench/experts):
//   fast 0.30, weight 0.50: 256 experts, top-8: 44.3 57.1 69.6 77.9; 64 experts, top-8: 23.0 37.1 55.3 65.9
//   fast 0.65, weight 0.35: 256 experts, top-8: 44.3 56.9 70.1 78.0; 64 experts, top-8: 23.4 38.7 56.0 66.3
struct EvictionRates {
  float fast = 0.65F, slow = 0.03F;  // what the newest pass counts in either average
  float fast_weight = 0.35F;         // of the fast one in the forecast
};

// Layers are passed in a cycle, one cycle a token. For each expert two moving averages of "picked in this pass" are
// kept, fast and slow. With p, their weighted mean, taken as the chance of a pick in one
// pass, and the expert's layer passed last at time t (counted in layers), its next use is expected at
//     t + n_layers / p
// and the candidate whose next use lies furthest ahead goes first. Both averages change only when the layer itself is
// passed, so a forecast stays as it is until then, and forecasts of different layers compare at any moment. An expert
// picked once falls behind those picked often as soon as it is released: it takes the place of the next one of its
// kind, not theirs (admission bypass).
//
// A step of many rows counts as that many passes, up to kMostRows, in each of which an expert was picked as often as in
// the mean of the rows: a prompt that picks nearly every expert once leaves those in place that it picks often.
//
// Within a layer forecasts differ only in n_layers / p, so that it is all that is kept for an expert, and compared.
//
// Cost: use() O(n_experts), plain loops over arrays; set_candidate() O(1); victim() O(layers asked + n_experts of each
// layer that changed since).
class Eviction {
 public:
  Eviction(int n_layers, int n_experts, const EvictionRates& rates = {});

  static constexpr int64_t kMostRows = 16;

  // The pass through `layer` picks these. Calls in a row for one layer are one pass (a chunk taken in waves).
  void use(int layer, const Picks& picks);
  // Before anything was picked: how often [n_layers, n_experts] each was picked for a token in earlier runs.
  void expect(std::span<const float> rates);
  // Whether the expert may be chosen as a victim; at first none may.
  void set_candidate(int layer, int expert, bool on);
  // Among the candidates of `layers`, the one expected to be needed last.
  std::optional<ExpertId> victim(std::span<const int> layers);

 private:
  size_t at(int layer, int expert) const {
    return static_cast<size_t>(layer) * static_cast<size_t>(n_experts_) + static_cast<size_t>(expert);
  }
  void forecast(int layer);
  void find_last(int layer);

  struct Keep {
    float fast = 1, slow = 1;
  };

  struct Last {
    int expert;       // the candidate needed last, kNone, or kUnknown
    double expected;  // its next use; -infinity: there is none
  };
  double expected(int layer, float distance) const {
    return static_cast<double>(passed_[static_cast<size_t>(layer)]) + static_cast<double>(distance);
  }

  int n_layers_, n_experts_;
  EvictionRates rates_;
  std::array<Keep, kMostRows + 1> keep_;  // what is left of the averages after so many passes
  int64_t passes_ = 0;                    // layers passed so far: the time
  int current_layer_ = -1;
  std::vector<float> fast_, slow_;  // [n_layers, n_experts]
  std::vector<int64_t> passed_;     // [n_layers] when
  std::vector<float> distance_;     // [n_layers, n_experts] from there to the expected next use
  std::vector<float> candidates_;   // [n_layers, n_experts] the distance of candidates, kNever for the others
  std::vector<Last> last_;          // [n_layers]
};

}  // namespace flashmoe
