#include "text/tool_calls.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "text/argument_schema.h"
#include "text/json_call.h"

namespace flashmoe {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>", kThinkEnd = "</think>";
constexpr std::string_view kFunction = "<function=", kFunctionEnd = "</function>";
constexpr std::string_view kParameter = "<parameter=", kParameterEnd = "</parameter>";
constexpr std::string_view kSpace = " \t\r\n";

std::string_view trim_left(std::string_view text) {
  const size_t start = text.find_first_not_of(kSpace);
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}
std::string_view trim_right(std::string_view text) { return text.substr(0, text.find_last_not_of(kSpace) + 1); }

struct Malformed {
  std::string reason;
};

// Takes "<tag=NAME>" off the text's beginning.
std::string take_opening(std::string_view& rest, std::string_view tag) {
  const size_t end = rest.find('>');
  if (!rest.starts_with(tag) || end == std::string_view::npos) throw Malformed{fmt::format("expected {}NAME>", tag)};
  const std::string name(rest.substr(tag.size(), end - tag.size()));
  if (name.empty() || name.find_first_of(" \t\r\n<") != std::string::npos)
    throw Malformed{fmt::format("{} has no proper name", tag)};
  rest.remove_prefix(end + 1);
  return name;
}

// A value ends where a closing tag is followed by what may follow it: the value may hold such a tag itself.
std::string take_value(std::string_view& rest, const std::string& key) {
  for (size_t at = rest.find(kParameterEnd); at != std::string_view::npos; at = rest.find(kParameterEnd, at + 1)) {
    const std::string_view after = trim_left(rest.substr(at + kParameterEnd.size()));
    if (!after.starts_with(kParameter) && !after.starts_with(kFunctionEnd)) continue;
    std::string_view value = rest.substr(0, at);
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    rest = after;
    return std::string(value);
  }
  throw Malformed{fmt::format("the parameter '{}' is not closed", key)};
}

bool names_parameters(const Json* definition) {
  if (definition == nullptr || !definition->contains("parameters")) return false;
  const Json& parameters = (*definition)["parameters"];
  return parameters.is_object() && parameters.contains("properties");
}

const Json* definition_of(const ParsedCall& call, const Json& tools, std::vector<std::string>& misfits) {
  const Json* definition = tool_definition(tools, call.name);
  if (tools.is_array() && definition == nullptr) misfits.push_back(fmt::format("no tool is named '{}'", call.name));
  return definition;
}

void check_argument(const Json* definition, const ArgumentSchema& schema, const std::string& key, bool fits,
                    std::vector<std::string>& misfits) {
  if (names_parameters(definition) && !schema.is_defined()) {
    misfits.push_back(fmt::format("'{}' has no parameter '{}'", (*definition)["name"].get<std::string>(), key));
  }
  if (!fits) misfits.push_back(fmt::format("the value of '{}' is not of type {}", key, schema.types()));
}

// {"name": ..., "arguments": {...}}
ParsedCall take_json_call(std::string_view& rest, const Json& tools, std::vector<std::string>& misfits) {
  JsonCall json;
  ParsedCall call;
  rest.remove_prefix(json.take(rest, call.arguments));
  if (!json.fault().empty()) throw Malformed{json.fault()};
  if (!json.ended()) throw Malformed{"the JSON object is not closed"};
  call.name = json.name();
  const Json* definition = definition_of(call, tools, misfits);
  const Json arguments = Json::parse(call.arguments);
  for (const auto& [key, value] : arguments.items()) {
    const ArgumentSchema schema(definition, key);
    check_argument(definition, schema, key, schema.has_type_of(value), misfits);
  }
  return call;
}

// <function=NAME><parameter=KEY>VALUE</parameter>...</function>
ParsedCall take_xml_call(std::string_view& rest, const Json& tools, std::vector<std::string>& misfits) {
  ParsedCall call{take_opening(rest, kFunction), {}};
  const Json* definition = definition_of(call, tools, misfits);
  Json arguments = Json::object();
  for (rest = trim_left(rest); rest.starts_with(kParameter); rest = trim_left(rest)) {
    const std::string key = take_opening(rest, kParameter);
    const std::string text = take_value(rest, key);
    ArgumentSchema schema(definition, key);
    if (arguments.contains(key)) throw Malformed{fmt::format("the parameter '{}' is given twice", key)};
    const auto value = schema.read(text);
    check_argument(definition, schema, key, value.has_value(), misfits);
    arguments[key] = value.value_or(Json(text));
  }
  if (!rest.starts_with(kFunctionEnd)) throw Malformed{"expected </function>"};
  rest.remove_prefix(kFunctionEnd.size());
  call.arguments = arguments.dump(-1, ' ', false, Json::error_handler_t::replace);
  return call;
}

// `rest` begins behind <tool_call>; on return, behind </tool_call>.
ParsedCall take_call(std::string_view& rest, const Json& tools, std::vector<std::string>& misfits) {
  rest = trim_left(rest);
  ParsedCall call = rest.starts_with('{') ? take_json_call(rest, tools, misfits) : take_xml_call(rest, tools, misfits);
  rest = trim_left(rest);
  if (!rest.starts_with(kClose)) throw Malformed{"expected </tool_call>"};
  rest.remove_prefix(kClose.size());
  return call;
}

}  // namespace

ToolCalls parse_tool_calls(std::string_view text, const Json& tools) {
  ToolCalls out;
  const size_t thought = text.rfind(kThinkEnd);
  const size_t first = text.find(kOpen, thought == std::string_view::npos ? 0 : thought);
  if (first == std::string_view::npos) {
    out.text = text;
    return out;
  }
  out.text = trim_right(text.substr(0, first));
  std::string_view rest = text.substr(first);
  while (!(rest = trim_left(rest)).empty()) {
    const size_t n = out.calls.size() + out.faults.size() + 1;
    const size_t next = rest.find(kOpen);
    if (next != 0) {
      out.faults.push_back("text stands behind a call");
    } else {
      rest.remove_prefix(kOpen.size());
      std::string_view after = rest;
      try {
        std::vector<std::string> misfits;
        out.calls.push_back(take_call(after, tools, misfits));
        for (const std::string& misfit : misfits) out.misfits.push_back(fmt::format("call {}: {}", n, misfit));
        rest = after;
        continue;
      } catch (const Malformed& malformed) {
        out.faults.push_back(fmt::format("call {}: {}", n, malformed.reason));
      }
    }
    const size_t following = rest.find(kOpen);  // read on at the next call
    rest = following == std::string_view::npos ? std::string_view() : rest.substr(following);
  }
  return out;
}

}  // namespace flashmoe
