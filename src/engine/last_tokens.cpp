#include "engine/last_tokens.h"

#include <algorithm>
#include <utility>

namespace flashmoe {

std::span<const int32_t> LastTokens::picks(uint64_t sequence, size_t layer) const {
  const auto at = tokens_.find(sequence);
  return at == tokens_.end() ? std::span<const int32_t>()
                             : std::span(at->second.picks).subspan(layer * n_used_, n_used_);
}

void LastTokens::passed(const TraceStep& step) {
  ++n_steps_;
  size_t end = 0;  // row
  for (const TraceRun& run : step.runs) {
    end += static_cast<size_t>(run.n_rows);
    Token& token = token_of(run.sequence);
    token.step = n_steps_;
    token.picks.resize(n_layers_ * n_used_);
    for (size_t l = 0; l < n_layers_; ++l) {
      std::copy_n(&step.layers[l].experts[(end - 1) * n_used_], n_used_, &token.picks[l * n_used_]);
    }
  }
}

// A new sequence takes the place, and the memory, of the one that was seen longest ago.
LastTokens::Token& LastTokens::token_of(uint64_t sequence) {
  if (const auto known = tokens_.find(sequence); known != tokens_.end()) return known->second;
  if (tokens_.size() < kMost) return tokens_[sequence];
  auto node = tokens_.extract(std::min_element(tokens_.begin(), tokens_.end(), [](const auto& one, const auto& other) {
    return one.second.step < other.second.step;
  }));
  node.key() = sequence;
  return tokens_.insert(std::move(node)).position->second;
}

}  // namespace flashmoe
