// Tool calls in an assistant's text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object, keys in the order written
};

struct ToolCalls {
  std::string text;  // before the first call, without the white space at its end
  std::vector<ToolCall> calls;
  std::vector<std::string>
      faults;  // one line for each call (or text between calls) that cannot be read; not in `calls`

  bool well_formed() const { return faults.empty(); }
};

// Reads <tool_call><function=NAME><parameter=KEY>VALUE</parameter>...</function></tool_call> behind the last </think>.
// tools: the request's definitions (null or a list). A value takes the type its parameter's schema names and must fit
// it; a parameter whose schema names no type is text. A function or parameter that no definition names is a fault.
ToolCalls parse_tool_calls(std::string_view text, const nlohmann::ordered_json& tools);

}  // namespace flashmoe
