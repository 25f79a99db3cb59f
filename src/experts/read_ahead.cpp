#include "experts/read_ahead.h"

#include <fmt/format.h>

#include <algorithm>

namespace flashmoe {

bool ReadAhead::on() const {
  if (choice_ != ReadAheadChoice::automatic) return choice_ == ReadAheadChoice::on;
  return n_tried_ < kTokensPerTrial ? turn_is_on() : pays_;
}

void ReadAhead::begin_token(uint64_t now_ns, bool decode) {
  const uint64_t token_ns = now_ns - began_ns_;
  const bool timed = began_ns_ != 0 && decode;
  began_ns_ = decode ? now_ns : 0;  // what follows a prompt's chunk is not the time of a token
  if (choice_ != ReadAheadChoice::automatic || !timed) return;
  if (n_tried_ == kTokensPerTrial) {
    if (++n_kept_ == keep_) n_tried_ = n_kept_ = 0;
    return;
  }
  const auto i = static_cast<size_t>(n_tried_ / (2 * kTokensPerTurn) * kTokensPerTurn + n_tried_ % kTokensPerTurn);
  (turn_is_on() ? with_ : without_)[i] = token_ns;
  if (++n_tried_ == kTokensPerTrial) judge();
}

void ReadAhead::judge() {
  const auto median_ms = [](Times& times) {
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return static_cast<double>(times[times.size() / 2]) * 1e-6;
  };
  with_ms_ = median_ms(with_);
  without_ms_ = median_ms(without_);
  const bool pays = with_ms_ < without_ms_ * (1 - kLeastGain);
  keep_ = keep_ > 0 && pays == pays_ ? std::min(2 * keep_, kMostKept) : kFirstKept;
  pays_ = pays;
}

std::string ReadAhead::verdict() const {
  if (choice_ != ReadAheadChoice::automatic) return choice_ == ReadAheadChoice::on ? "on" : "off";
  if (without_ms_ == 0) return "tried";
  return fmt::format("{}: {:.1f} ms a token with it, {:.1f} without", pays_ ? "on" : "off", with_ms_, without_ms_);
}

}  // namespace flashmoe
