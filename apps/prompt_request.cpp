#include "prompt_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "flashmoe/error.h"
#include "json.h"

namespace flashmoe {

PromptRequest ask(const std::string& prompt, const std::string& system, bool no_think) {
  Json messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  Json request = {{"messages", messages}};
  if (no_think) request["enable_thinking"] = false;
  return {dump(request), {}};
}

PromptRequest read_request(const std::string& text, const std::string& name, bool no_think) {
  Json request;
  try {
    request = parse_json(text);
  } catch (const Json::parse_error& error) {
    const size_t end = std::min(error.byte > 0 ? error.byte - 1 : 0, text.size());
    const auto stop = text.begin() + static_cast<std::ptrdiff_t>(end);
    const auto line = std::count(text.begin(), stop, '\n') + 1;
    const size_t line_start = end == 0 ? 0 : text.rfind('\n', end - 1) + 1;  // npos + 1 is the start
    throw Error(Fault::input, fmt::format("{}: line {}, column {}: not valid JSON", name, line, end - line_start + 1));
  } catch (const Error& error) {
    throw Error(Fault::input, fmt::format("{}: {}", name, error.what()));
  }
  if (!request.is_object() || !request.contains("messages") || !request["messages"].is_array()) {
    throw Error(Fault::input, name + ": an object with a list of \"messages\" is expected");
  }
  if (no_think) request["enable_thinking"] = false;
  PromptRequest result = {dump(request), {}};
  for (const char* field : {"temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop",
                            "seed", "presence_penalty", "frequency_penalty", "tool_choice", "response_format", "n"}) {
    if (request.contains(field)) result.unread.emplace_back(field);
  }
  return result;
}

}  // namespace flashmoe
