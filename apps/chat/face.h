// How a chat shows itself: on a terminal, or as plain text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "flashmoe/session.h"

namespace flashmoe {

enum class Permission {
  yes,
  no,
  always,
  stop  // no, and the turn is over
};

// Of all answers of a turn together.
struct TurnTotals {
  int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  double ttft_s = 0;  // of the first
  double decode_s = 0;
  std::optional<double> hit_rate;
  StopReason reason = StopReason::end_of_turn;
  double tok_per_s() const { return decode_s > 0 ? static_cast<double>(answer_tokens) / decode_s : 0; }
};

// Texts may hold anything: a face shows them harmlessly.
class Face {
 public:
  virtual ~Face() = default;
  virtual void status(const std::string& text) = 0;  // replaces the one before; gone with the next output
  virtual void thinking(std::string_view piece) = 0;
  virtual void content(std::string_view piece) = 0;
  virtual void end_answer() = 0;
  virtual void call(const std::string& text) = 0;
  virtual Permission confirm(const std::string& always_means) = 0;
  virtual void result(const std::string& text) = 0;
  virtual void note(const std::string& text) = 0;   // one line
  virtual void print(const std::string& text) = 0;  // of a command: lines that end in newlines
  virtual void footer(const TurnTotals& totals) = 0;
  virtual bool stop_wanted() = 0;
};

}  // namespace flashmoe
