#include "text/tool_calls.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

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

const Json* member(const Json* object, const char* key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto found = object->find(key);
  return found == object->end() ? nullptr : &*found;
}

// The definition of `name`: {"name": ..., "parameters": ...}, or null.
const Json* definition(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    const Json* inner = member(&tool, "function");
    const Json* function = inner != nullptr ? inner : &tool;
    const Json* named = member(function, "name");
    if (named != nullptr && named->is_string() && named->get_ref<const std::string&>() == name) return function;
  }
  return nullptr;
}

std::optional<Json> read_as(const std::string& type, const std::string& text) {
  if (type == "string") return Json(text);
  const std::string bare(trim_right(trim_left(text)));
  if (type == "boolean" && (bare == "true" || bare == "True")) return Json(true);
  if (type == "boolean" && (bare == "false" || bare == "False")) return Json(false);
  if (type == "null" && (bare == "null" || bare == "None")) return Json(nullptr);
  Json value = Json::parse(bare, nullptr, false);
  const bool whole = value.is_number_integer();
  const bool fits = (type == "integer" && whole) || (type == "number" && value.is_number()) ||
                    (type == "object" && value.is_object()) || (type == "array" && value.is_array());
  return fits ? std::optional<Json>(std::move(value)) : std::nullopt;
}

// The text as the first type of the schema that it fits; nothing when it fits none.
std::optional<Json> typed(const std::string& text, const Json* schema, std::string& wanted) {
  const Json* type = member(schema, "type");
  std::vector<std::string> types;
  if (type != nullptr && type->is_string()) types.push_back(type->get<std::string>());
  if (type != nullptr && type->is_array()) {
    for (const Json& t : *type) {
      if (t.is_string()) types.push_back(t.get<std::string>());
    }
  }
  if (types.empty()) return Json(text);
  // Any text is a string: the other types are tried first.
  std::stable_partition(types.begin(), types.end(), [](const std::string& t) { return t != "string"; });
  for (const std::string& t : types) {
    if (auto value = read_as(t, text)) return value;
  }
  wanted = fmt::format("{}", fmt::join(types, " or "));
  return std::nullopt;
}

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

// `rest` begins behind <tool_call>; on return, behind </tool_call>.
ToolCall take_call(std::string_view& rest, const Json& tools, std::vector<std::string>& misfits) {
  rest = trim_left(rest);
  ToolCall call{take_opening(rest, kFunction), {}};
  const Json* function = definition(tools, call.name);
  if (tools.is_array() && function == nullptr) misfits.push_back(fmt::format("no tool is named '{}'", call.name));
  const Json* properties = member(member(function, "parameters"), "properties");
  Json arguments = Json::object();
  for (rest = trim_left(rest); rest.starts_with(kParameter); rest = trim_left(rest)) {
    const std::string key = take_opening(rest, kParameter);
    const std::string text = take_value(rest, key);
    const Json* schema = member(properties, key.c_str());
    if (properties != nullptr && schema == nullptr) {
      misfits.push_back(fmt::format("'{}' has no parameter '{}'", call.name, key));
    }
    if (arguments.contains(key)) throw Malformed{fmt::format("the parameter '{}' is given twice", key)};
    std::string wanted;
    const auto value = typed(text, schema, wanted);
    if (!value) misfits.push_back(fmt::format("the value of '{}' is not of type {}", key, wanted));
    arguments[key] = value.value_or(Json(text));
  }
  if (!rest.starts_with(kFunctionEnd)) throw Malformed{"expected </function>"};
  rest = trim_left(rest.substr(kFunctionEnd.size()));
  if (!rest.starts_with(kClose)) throw Malformed{"expected </tool_call>"};
  rest.remove_prefix(kClose.size());
  call.arguments = arguments.dump(-1, ' ', false, Json::error_handler_t::replace);
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

const Json* parameter_schema(const Json& tools, const std::string& tool, const std::string& parameter) {
  return member(member(member(definition(tools, tool), "parameters"), "properties"), parameter.c_str());
}

std::string argument_json(const std::string& text, const Json* schema) {
  std::string wanted;
  return typed(text, schema, wanted).value_or(Json(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_plain_text(const Json* schema) {
  const Json* type = member(schema, "type");
  return type == nullptr || (!type->is_array() && *type == "string");
}

}  // namespace flashmoe
