// Judging answers, for whoever measures a model.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace flashmoe {

struct ToolCallVerdict {
  bool well_formed = false;  // there are calls, and every one can be read
  bool exact = false;        // they are the wanted ones in order, names and arguments equal as values
};

// answer: the assistant's text, marks and all. tools_json: the request's definitions. want_json: a list of
// {"name": ..., "arguments": {...}}. Throws Error{input} where one of the two is not that.
ToolCallVerdict judge_tool_calls(std::string_view answer, std::string_view tools_json, std::string_view want_json);

// Which model it is, by what its files hold: the same for the same files, another one after one was exchanged or
// changed. Reads some megabytes; what is not there is passed over. Throws Error{io}.
std::string identity_of_files(std::span<const std::string> paths);

}  // namespace flashmoe
