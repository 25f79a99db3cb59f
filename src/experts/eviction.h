// Which cached expert is needed last? A forecast from how often and how recently each was picked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace flashmoe {

struct ExpertId {
  int layer = 0;
  int expert = 0;
};

// Layers are passed in a cycle, one cycle a token. For each expert two moving averages of "picked in this pass" are
// kept, fast (alpha 0.65) and slow (alpha 0.03). With p = 0.35 fast + 0.65 slow taken as the chance of a pick in one
// pass, and the expert's layer passed last at time t (counted in layers), its next use is expected at
//     t + n_layers / p
// and the candidate whose next use lies furthest ahead goes first. Both averages change only when the layer itself is
// passed, so a forecast stays as it is until then, and forecasts of different layers compare at any moment. An expert
// picked once falls behind those picked often as soon as it is released: it takes the place of the next one of its
// kind, not theirs (admission bypass).
//
// Cost: use() O(n_experts), plain loops over arrays; set_candidate() O(1); victim() O(layers asked + n_experts of each
// layer that changed since).
class Eviction {
 public:
  Eviction(int n_layers, int n_experts);

  // The pass through `layer` picks `experts`. Calls in a row for one layer are one pass (a chunk taken in waves).
  void use(int layer, std::span<const int32_t> experts);
  // Whether the expert may be chosen as a victim; at first none may.
  void set_candidate(int layer, int expert, bool on);
  // Among the candidates of `layers`, the one expected to be needed last.
  std::optional<ExpertId> victim(std::span<const int> layers);

 private:
  size_t at(int layer, int expert) const {
    return static_cast<size_t>(layer) * static_cast<size_t>(n_experts_) + static_cast<size_t>(expert);
  }
  void find_last(int layer);

  int n_layers_, n_experts_;
  int64_t passes_ = 0;  // layers passed so far: the time
  int current_layer_ = -1;
  std::vector<float> fast_, slow_;  // [n_layers, n_experts]
  std::vector<double> forecast_;    // [n_layers, n_experts], time of the expected next use
  std::vector<double> key_;         // [n_layers, n_experts], the forecast of candidates, -infinity for the others
  std::vector<int> last_;           // [n_layers], the candidate with the largest key, kNone, or kUnknown
};

}  // namespace flashmoe
