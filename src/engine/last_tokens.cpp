#include "engine/last_tokens.h"

#include <algorithm>

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
    Token& token = tokens_[run.sequence];
    token.step = n_steps_;
    token.picks.resize(n_layers_ * n_used_);
    for (size_t l = 0; l < n_layers_; ++l) {
      std::copy_n(&step.layers[l].experts[(end - 1) * n_used_], n_used_, &token.picks[l * n_used_]);
    }
  }
  if (tokens_.size() > kMost) forget_oldest();
}

void LastTokens::forget_oldest() {
  std::vector<uint64_t> steps;
  for (const auto& [sequence, token] : tokens_) steps.push_back(token.step);
  const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
  std::nth_element(steps.begin(), middle, steps.end());
  std::erase_if(tokens_, [limit = *middle](const auto& entry) { return entry.second.step < limit; });
}

}  // namespace flashmoe
