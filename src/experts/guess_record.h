// How often guesses come true, by rank: which of them are worth a read?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/source.h"

namespace flashmoe {

// A router's first guess for the next layer is right far more often than its eighth. A wrong one costs the disk a whole
// record, and a demand may stand behind it; so a rank that comes true too seldom is not read.
class GuessRecord {
 public:
  static constexpr double kLeastRight = 0.6;
  static constexpr double kLeastTrials = 40;     // before a rank is judged; until then it counts as worth it
  static constexpr double kMemoryTrials = 4000;  // older ones count half

  explicit GuessRecord(int n_ranks) : ranks_(static_cast<size_t>(n_ranks)) {
    last_.reserve(ranks_.size() * kGuessedRows);
  }

  // Guesses for a layer: the likeliest of each row, then the second of each, and so on. What was guessed before and not
  // settled is forgotten.
  void note(int layer, std::span<const int32_t> guesses, size_t n_rows);
  // What the layer's router picked in the end, for any row.
  void settle(int layer, std::span<const int32_t> picks);
  bool worth_reading(size_t rank) const;

 private:
  struct Rank {
    double n_tried = 0, n_right = 0;
  };
  std::vector<Rank> ranks_;  // [n_used]
  int layer_ = -1;           // that last_ is for
  size_t n_rows_ = 1;
  std::vector<int32_t> last_;  // guesses, at most n_used for each row
};

}  // namespace flashmoe
