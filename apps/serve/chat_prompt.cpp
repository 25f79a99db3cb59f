#include "serve/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace flashmoe {
namespace {

constexpr int64_t kLowEffort = 512, kMediumEffort = 2048;
constexpr size_t kLongestToolName = 128;

void join(Json& turn, const char* name, const std::string& text) {
  if (text.empty()) return;
  const std::string before = turn.contains(name) && turn[name].is_string() ? turn[name].get<std::string>() : "";
  turn[name] = before.empty() ? text : before + "\n\n" + text;
}

bool is_tool_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestToolName && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_-.:/").find(c) != std::string_view::npos;
  });
}

}  // namespace

void ChatPrompt::add_system(const std::string& text) {
  if (leading_ && !messages_.empty()) {
    join(messages_.back(), "content", text);
    return;
  }
  messages_.push_back({{"role", "system"}, {"content", text}});
}

void ChatPrompt::add_user(const std::string& text) {
  leading_ = false;
  messages_.push_back({{"role", "user"}, {"content", text}});
}

void ChatPrompt::add_assistant(const std::string& text, const std::string& thinking,
                               const std::vector<ToolCall>& calls) {
  leading_ = false;
  if (messages_.empty() || messages_.back()["role"] != "assistant") {
    messages_.push_back({{"role", "assistant"}, {"content", ""}});
  }
  Json& turn = messages_.back();
  join(turn, "content", text);
  join(turn, "reasoning_content", thinking);
  for (const ToolCall& call : calls) turn["tool_calls"].push_back(call.json());
}

void ChatPrompt::add_tool_result(const std::string& call_id, const std::string& text) {
  leading_ = false;
  messages_.push_back({{"role", "tool"}, {"tool_call_id", call_id}, {"content", text}});
}

void ChatPrompt::add_tool(const RequestFields& tool, const char* parameters) {
  const std::string name = tool.required_text("name");
  if (!is_tool_name(name)) {
    bad_request(tool.at("name"), fmt::format("1 to {} letters, digits and _-.:/ are expected", kLongestToolName));
  }
  if (has_tool(name)) bad_request(tool.at("name"), fmt::format("there are two tools named '{}'", name));
  Json function = {{"name", name}};
  if (const auto description = tool.text("description")) function["description"] = *description;
  const auto schema = tool.object(parameters);
  function["parameters"] = schema ? schema->json() : Json{{"type", "object"}, {"properties", Json::object()}};
  tools_.push_back({{"type", "function"}, {"function", function}});
}

bool ChatPrompt::has_tool(const std::string& name) const {
  return std::any_of(tools_.begin(), tools_.end(), [&](const Json& tool) { return tool["function"]["name"] == name; });
}

void ChatPrompt::choose_tool(ToolChoice choice, const std::string& name, const char* field) {
  if (choice == ToolChoice::none) tools_.clear();
  if (choice == ToolChoice::none || choice == ToolChoice::automatic) return;
  if (tools_.empty()) bad_request(field, "a call is demanded, but the request has no tools");
  constraint_.kind = Constraint::Kind::tool_call;
  if (choice == ToolChoice::required) return;
  if (!has_tool(name)) bad_request(field, fmt::format("'{}' is none of the request's tools", name));
  constraint_.tool = name;
}

void ChatPrompt::write_to(Request& request) const {
  Json chat = extra_;
  chat["messages"] = messages_;
  if (!tools_.empty()) chat["tools"] = tools_;
  request.chat_json = dump(chat);
  if (constraint_.kind != Constraint::Kind::none) request.constraint = constraint_;
}

void apply_effort(const std::string& effort, ChatPrompt& prompt, Request& request) {
  const bool off = effort == "none" || effort == "minimal";
  prompt.think(!off);
  if (!off) prompt.set_extra({{"reasoning_effort", effort}});
  if (effort == "low") request.max_thinking_tokens = kLowEffort;
  if (effort == "medium") request.max_thinking_tokens = kMediumEffort;
}

void read_template_arguments(const RequestFields& fields, ChatPrompt& prompt) {
  const auto arguments = fields.object("chat_template_kwargs");
  if (!arguments) return;
  for (const char* own : {"messages", "tools"}) {
    if (arguments->has(own)) bad_request(arguments->at(own), "is a field of the request itself");
  }
  prompt.set_extra(arguments->json());
}

std::string content_text(const Json& content, const std::string& where) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) bad_request(where, "a string or a list of parts is expected");
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const RequestFields part(content[i], fmt::format("{}[{}].", where, i));
    const std::string type = part.required_text("type");
    if (type == "refusal") {
      text += part.required_text("refusal");
    } else if (type == "text" || type == "input_text" || type == "output_text") {
      text += part.required_text("text");
    } else {
      bad_request(part.at("type"), fmt::format("'{}' is not supported: this model reads text only", type));
    }
  }
  return text;
}

std::string required_content(const RequestFields& message) {
  const Json* content = message.find("content");
  if (content == nullptr) bad_request(message.at("content"), "a string or a list of parts is expected");
  return content_text(*content, message.at("content"));
}

Constraint json_constraint(const std::string& kind, const Json* schema, const std::string& field) {
  Constraint constraint;
  if (kind == "json_object") constraint.kind = Constraint::Kind::json_object;
  if (kind == "json_schema") {
    if (schema == nullptr || !(schema->is_object() || schema->is_boolean()))
      bad_request(field, "a JSON schema is expected");
    constraint.kind = Constraint::Kind::json_schema;
    constraint.schema = dump(*schema);
  }
  return constraint;
}

}  // namespace flashmoe
