// What an answer's events add up to.
#pragma once

#include <string>
#include <vector>

#include "flashmoe/service.h"
#include "tool_call.h"

namespace flashmoe {

struct Collected {
  std::string thinking, content;
  std::vector<ToolCall> calls;
  std::vector<SampledToken> content_tokens;  // where log probabilities were asked for
  StopReason reason = StopReason::end_of_turn;
  std::string stop_text;
  Usage usage;

  void add(const AnswerEvent& event);
  // The answer was cut: it would have gone on.
  bool cut() const { return reason == StopReason::max_tokens || reason == StopReason::context_full; }
};

}  // namespace flashmoe
