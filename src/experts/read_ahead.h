// Does reading ahead pay? Decided by trying both.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "flashmoe/options.h"

namespace flashmoe {

// Automatically, tokens are decoded with and without read-ahead in turns, and the faster way is kept for a while. A
// trial is kTurns turns of kTokensPerTurn each; alternating, so that a cache that fills meanwhile favours neither. What
// trials agree on is kept twice as long each time: the first may have met a cache that fills, or memory that is touched
// for the first time.
class ReadAhead {
 public:
  static constexpr int kTokensPerTurn = 4;
  static constexpr int kTurns = 12;
  static constexpr int kFirstKept = 125, kMostKept = 1000;  // tokens until the next trial
  static constexpr double kLeastGain = 0.01;

  explicit ReadAhead(ReadAheadChoice choice) : choice_(choice) {}

  // Whether guesses are welcome for the token that is being decoded.
  bool on() const;
  // A token begins at this time. `decode`: it is the next of a sequence, or of a few.
  void begin_token(uint64_t now_ns, bool decode);
  std::string verdict() const;  // "on", "off", "off: 91.0 ms a token with it, 88.2 without"

 private:
  static constexpr int kTokensPerTrial = kTokensPerTurn * kTurns;
  using Times = std::array<uint64_t, kTokensPerTrial / 2>;

  bool turn_is_on() const { return n_tried_ / kTokensPerTurn % 2 == 0; }
  void judge();

  ReadAheadChoice choice_;
  bool pays_ = true;
  int n_tried_ = 0;  // tokens of this trial
  int n_kept_ = 0;   // tokens since it ended
  int keep_ = 0;     // as many
  uint64_t began_ns_ = 0;
  Times with_{}, without_{};
  double with_ms_ = 0, without_ms_ = 0;  // medians of the last trial
};

}  // namespace flashmoe
