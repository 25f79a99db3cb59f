#include "experts/guess_record.h"

#include <algorithm>

namespace flashmoe {

void GuessRecord::note(int layer, std::span<const int32_t> guesses, size_t n_rows) {
  const auto known = guesses.first(std::min(guesses.size(), ranks_.size() * n_rows));
  layer_ = layer;
  n_rows_ = n_rows;
  last_.assign(known.begin(), known.end());
}

void GuessRecord::settle(int layer, std::span<const int32_t> picks) {
  if (layer != layer_) return;
  for (size_t i = 0; i < last_.size(); ++i) {
    Rank& rank = ranks_[i / n_rows_];
    if (rank.n_tried >= kMemoryTrials) rank = {rank.n_tried / 2, rank.n_right / 2};
    rank.n_tried += 1;
    if (std::find(picks.begin(), picks.end(), last_[i]) != picks.end()) rank.n_right += 1;
  }
  layer_ = -1;
}

bool GuessRecord::worth_reading(size_t rank) const {
  if (rank >= ranks_.size() || ranks_[rank].n_tried < kLeastTrials) return true;
  return ranks_[rank].n_right >= kLeastRight * ranks_[rank].n_tried;
}

}  // namespace flashmoe
