// A call of a tool, as chat and serve keep it.
#pragma once

#include <string>
#include <vector>

#include "flashmoe/service.h"
#include "json.h"

namespace flashmoe {

struct ToolCall {
  std::string id, name, arguments;  // arguments: JSON as the model wrote it

  // {"id", "type": "function", "function": {"name", "arguments": text}}, as a message in OpenAI's shape has it.
  Json json() const;
};

// Adds an event of kind tool_call to the calls so far; the call that it is a part of.
ToolCall& add_to_calls(std::vector<ToolCall>& calls, const AnswerEvent& event);

}  // namespace flashmoe
