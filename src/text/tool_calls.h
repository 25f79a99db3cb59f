// Tool calls in an assistant's text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct ParsedCall {
  std::string name;
  std::string arguments;  // a JSON object, keys in the order written
};

struct ToolCalls {
  std::string text;  // before the first call, without the white space at its end
  std::vector<ParsedCall> calls;
  std::vector<std::string> faults;   // a line for each call, or text between calls, that cannot be read; not in `calls`
  std::vector<std::string> misfits;  // a line for each name or value in `calls` that no definition allows

  bool well_formed() const { return faults.empty(); }
  bool valid() const { return faults.empty() && misfits.empty(); }
};

// Reads <tool_call><function=NAME><parameter=KEY>VALUE</parameter>...</function></tool_call> and
// <tool_call>{"name": NAME, "arguments": {...}}</tool_call> behind the last </think>.
// tools: the request's definitions (null or a list). A value of the first form takes the type its parameter's schema
// admits; one that does not fit it, or has none, stays text.
ToolCalls parse_tool_calls(std::string_view text, const nlohmann::ordered_json& tools);

}  // namespace flashmoe
