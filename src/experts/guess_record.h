// How often guesses come true, by rank: which of them are worth a read?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace flashmoe {

// A router's first guess for the next layer is right far more often than its eighth. A wrong one costs the disk a whole
// record, and a demand may stand behind it; so a rank that comes true too seldom is not read.
class GuessRecord {
 public:
  static constexpr double kLeastRight = 0.6;
  static constexpr double kLeastTrials = 40;    // before a rank is judged; until then it counts as worth it
  static constexpr double kMemoryTrials = 4000; // older ones count half

  explicit GuessRecord(int n_ranks) : ranks_(static_cast<size_t>(n_ranks)) { last_.reserve(ranks_.size()); }

  // One row's guesses for a layer, the likeliest first; what was guessed before and not settled is forgotten.
  void note(int layer, std::span<const int32_t> guesses);
  // What the layer's router picked in the end.
  void settle(int layer, std::span<const int32_t> picks);
  bool worth_reading(size_t rank) const;

 private:
  struct Rank {
    double n_tried = 0, n_right = 0;
  };
  std::vector<Rank> ranks_;    // [n_used]
  int layer_ = -1;             // that last_ is for
  std::vector<int32_t> last_;  // guesses, at most n_used
};

}  // namespace flashmoe
