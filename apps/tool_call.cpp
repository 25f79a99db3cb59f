#include "tool_call.h"

namespace flashmoe {

Json ToolCall::json() const {
  return {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

ToolCall& add_to_calls(std::vector<ToolCall>& calls, const AnswerEvent& event) {
  const auto at = static_cast<size_t>(event.call);
  if (at >= calls.size()) calls.resize(at + 1);
  ToolCall& call = calls[at];
  if (!event.call_id.empty()) call.id = event.call_id;
  if (!event.name.empty()) call.name = event.name;
  call.arguments += event.text;
  return call;
}

}  // namespace flashmoe
