// Does reading ahead pay? Decided by trying both.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "experts/source.h"
#include "flashmoe/options.h"

namespace flashmoe {

// Automatically, tokens are decoded with and without read-ahead in turns, and the faster way is kept for a while. A
// trial is kTurns turns of kTokensPerTurn each, or fewer where one way is much faster; alternating, so that a cache
// that fills meanwhile favours neither. Steps that decode one sequence are compared among each other, and so are those
// that decode two, and so on.
class ReadAhead {
 public:
  static constexpr int kTokensPerTurn = 4;
  static constexpr int kTurns = 12;
  // Until the next trial: few at first, for a cache that is empty leaves the disk no time for guesses.
  static constexpr int kFirstKept = kTokensPerTurn * kTurns;
  static constexpr int kTokensKept = 1000;
  static constexpr double kLeastGain = 0.01;
  // What ends a trial early, and after how many tokens at least.
  static constexpr double kClearGain = 0.1;
  static constexpr int kFewestTried = 4 * kTokensPerTurn;

  explicit ReadAhead(ReadAheadChoice choice) : choice_(choice) {}

  // Whether guesses are welcome in the step that is being made.
  bool on() const;
  // A step of so many rows begins at this time. Up to kGuessedRows they are one token of each of so many sequences.
  void begin_step(uint64_t now_ns, int64_t n_rows);
  // Its last experts are computed, or the latest of them: what comes until the next step, which may be a pause of
  // hours, tells nothing.
  void end_step(uint64_t now_ns) { ended_ns_ = now_ns; }
  std::string verdict() const;  // "on", "off", "off: 91.0 ms a token with it, 88.2 without"

 private:
  static constexpr int kTokensPerTrial = kTokensPerTurn * kTurns;
  using Times = std::array<uint64_t, kTokensPerTrial / 2>;

  struct Trial {
    bool turn_is_on() const { return n_tried / kTokensPerTurn % 2 == 0; }
    bool on() const { return n_tried < kTokensPerTrial ? turn_is_on() : pays; }
    void note(uint64_t step_ns);
    void judge();
    bool is_clear() const;

    bool pays = true;
    int n_tried = 0;          // steps of this trial
    int n_kept = 0;           // steps since it ended
    int n_keep = kFirstKept;  // until the next one
    Times with{}, without{};
    double with_ms = 0, without_ms = 0;  // medians of this trial so far, or of the last
  };

  ReadAheadChoice choice_;
  std::array<Trial, kGuessedRows> trials_;  // [rows - 1]
  size_t rows_ = 0;                         // of the step that is being made; 0: a chunk of a prompt
  size_t judged_ = 0;                       // rows of the trial that ended last; 0: none has
  uint64_t began_ns_ = 0, ended_ns_ = 0;
};

}  // namespace flashmoe
