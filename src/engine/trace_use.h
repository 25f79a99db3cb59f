// How a trace's picks are spread over experts, tokens and layers.
#pragma once

#include <vector>

#include "engine/last_tokens.h"
#include "experts/routing_trace.h"
#include "flashmoe/trace.h"

namespace flashmoe {

// Rows of all steps in order are taken as tokens in order: that is how a cache sees them. What the next token picks
// again is asked within a sequence.
class UseOfExperts {
 public:
  explicit UseOfExperts(const TraceHeader& header);

  void note(const TraceStep& step);
  std::vector<LayerUse> layers() const;
  std::vector<float> rates() const;  // [n_layers, n_experts]

 private:
  void note_layer(size_t layer, std::span<const int32_t> picks, std::span<const int32_t> before);

  static constexpr size_t kLongest = 4096;  // tokens between uses that are told apart

  size_t n_layers_, n_experts_, n_used_;
  LastTokens last_tokens_;
  uint64_t n_tokens_ = 0, n_followers_ = 0;   // tokens of which the one before is known
  std::vector<uint64_t> n_picks_;             // [n_layers, n_experts]
  std::vector<uint64_t> last_token_;          // [n_layers, n_experts], counted from 1; 0: none
  std::vector<uint64_t> reuse_;               // [n_layers, kLongest + 1] picks by tokens since the last
  std::vector<uint64_t> again_, next_layer_;  // [n_layers]
};

// The mean over layers.
LayerUse mean_of(const std::vector<LayerUse>& layers);

}  // namespace flashmoe
