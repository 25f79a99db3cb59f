#include "experts/read_ahead.h"

#include <fmt/format.h>

#include <algorithm>

namespace flashmoe {

bool ReadAhead::on() const {
  if (choice_ != ReadAheadChoice::automatic) return choice_ == ReadAheadChoice::on;
  return trials_[std::max<size_t>(rows_, 1) - 1].on();
}

void ReadAhead::begin_step(uint64_t now_ns, int64_t n_rows) {
  if (choice_ != ReadAheadChoice::automatic) return;
  if (rows_ > 0 && ended_ns_ > began_ns_) {  // else it was broken off
    Trial& trial = trials_[rows_ - 1];
    trial.note(ended_ns_ - began_ns_);
    if (trial.n_tried == kTokensPerTrial && trial.n_kept == 0) judged_ = rows_;
  }
  rows_ = n_rows <= kGuessedRows ? static_cast<size_t>(n_rows) : 0;
  began_ns_ = now_ns;
}

void ReadAhead::Trial::note(uint64_t step_ns) {
  if (n_tried == kTokensPerTrial) {
    if (++n_kept == n_keep) {
      n_tried = n_kept = 0;
      n_keep = std::min(2 * n_keep, kTokensKept);
    }
    return;
  }
  const auto i = static_cast<size_t>(n_tried / (2 * kTokensPerTurn) * kTokensPerTurn + n_tried % kTokensPerTurn);
  (turn_is_on() ? with : without)[i] = step_ns;
  if (++n_tried % (2 * kTokensPerTurn) != 0) return;
  judge();
  if (n_tried >= kFewestTried && is_clear()) n_tried = kTokensPerTrial;
}

void ReadAhead::Trial::judge() {
  const auto median_ms = [this](Times times) {
    const auto end = times.begin() + n_tried / 2, median = times.begin() + n_tried / 4;
    std::nth_element(times.begin(), median, end);
    return static_cast<double>(*median) * 1e-6;
  };
  with_ms = median_ms(with);
  without_ms = median_ms(without);
  pays = with_ms < without_ms * (1 - kLeastGain);
}

// Steps in the slower way cost more than they would still tell.
bool ReadAhead::Trial::is_clear() const {
  return std::min(with_ms, without_ms) < std::max(with_ms, without_ms) * (1 - kClearGain);
}

std::string ReadAhead::verdict() const {
  if (choice_ != ReadAheadChoice::automatic) return choice_ == ReadAheadChoice::on ? "on" : "off";
  if (judged_ == 0) return "tried";
  const Trial& last = trials_[judged_ - 1];
  return fmt::format("{}: {:.1f} ms a {} with it, {:.1f} without", last.pays ? "on" : "off", last.with_ms,
                     judged_ == 1 ? "token" : fmt::format("step of {}", judged_), last.without_ms);
}

}  // namespace flashmoe
