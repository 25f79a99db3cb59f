#include "chat/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

std::string role_of(const Json& message) { return message.at("role").get<std::string>(); }
std::string content_of(const Json& message) { return message.value("content", std::string()); }

bool well_formed_calls(const Json& calls) {
  if (!calls.is_array()) return false;
  return std::all_of(calls.begin(), calls.end(), [](const Json& call) {
    return call.is_object() && call.contains("id") && call["id"].is_string() && call.contains("function") &&
           call["function"].is_object() && call["function"].contains("name") && call["function"]["name"].is_string() &&
           call["function"].contains("arguments") && call["function"]["arguments"].is_string();
  });
}

bool well_formed(const Json& message) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) return false;
  for (const char* field : {"content", "reasoning_content", "tool_call_id"}) {
    if (message.contains(field) && !message[field].is_string()) return false;
  }
  const std::string role = role_of(message);
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") return false;
  return !message.contains("tool_calls") || well_formed_calls(message["tool_calls"]);
}

}  // namespace

Conversation::Conversation(Json messages) : messages_(std::move(messages)) {
  if (!messages_.is_array() || !std::all_of(messages_.begin(), messages_.end(), well_formed)) {
    throw Error(Fault::input, "a list of messages with role and content is expected");
  }
}

int Conversation::n_turns() const {
  return static_cast<int>(std::count_if(messages_.begin(), messages_.end(),
                                        [](const Json& message) { return role_of(message) == "user"; }));
}

std::string Conversation::title() const {
  for (const Json& message : messages_) {
    if (role_of(message) != "user") continue;
    const std::string text = content_of(message);
    const size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    return text.substr(start, text.find('\n', start) - start);
  }
  return "";
}

std::string Conversation::system() const {
  return !messages_.empty() && role_of(messages_[0]) == "system" ? content_of(messages_[0]) : "";
}

void Conversation::set_system(const std::string& text) {
  if (!messages_.empty() && role_of(messages_[0]) == "system") messages_.erase(0);
  if (!text.empty()) messages_.insert(messages_.begin(), Json{{"role", "system"}, {"content", text}});
}

void Conversation::add_user(const std::string& text) { messages_.push_back({{"role", "user"}, {"content", text}}); }

void Conversation::add_reply(const Reply& reply) {
  Json message = {{"role", "assistant"}, {"content", reply.content}};
  if (!reply.thinking.empty()) message["reasoning_content"] = reply.thinking;
  for (const ToolCall& call : reply.calls) message["tool_calls"].push_back(call.json());
  messages_.push_back(std::move(message));
}

void Conversation::add_tool_result(const ToolCall& call, const std::string& text) {
  messages_.push_back({{"role", "tool"}, {"tool_call_id", call.id}, {"name", call.name}, {"content", text}});
}

size_t Conversation::last_question() const {
  for (size_t at = messages_.size(); at > 0; --at) {
    if (role_of(messages_[at - 1]) == "user") return at - 1;
  }
  return messages_.size();
}

std::string Conversation::undo() {
  const size_t at = last_question();
  if (at == messages_.size()) return "";
  std::string text = content_of(messages_[at]);
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(at), messages_.end());
  return text;
}

bool Conversation::forget_answer() {
  const size_t at = last_question();
  if (at == messages_.size()) return false;
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(at) + 1, messages_.end());
  return true;
}

void Conversation::keep_turns(int n) {
  while (n_turns() > n) undo();
}

std::vector<ToolCall> Conversation::open_calls() const {
  std::vector<ToolCall> open;
  std::vector<std::string> answered;
  for (size_t at = messages_.size(); at > 0; --at) {
    const Json& message = messages_[at - 1];
    if (role_of(message) == "tool") {
      answered.push_back(message.value("tool_call_id", ""));
      continue;
    }
    for (const Json& call : message.value("tool_calls", Json::array())) {
      const Json& function = call["function"];
      if (std::find(answered.begin(), answered.end(), call["id"]) != answered.end()) continue;
      open.push_back({call["id"], function["name"], function["arguments"]});
    }
    break;
  }
  return open;
}

std::string Conversation::request_json(const Json& tools, bool think) const {
  Json request = {{"messages", messages_}};
  if (!tools.empty()) request["tools"] = tools;
  if (!think) request["enable_thinking"] = false;
  return dump(request);
}

std::string Conversation::markdown() const {
  std::string out;
  for (const Json& message : messages_) {
    const std::string role = role_of(message);
    const std::string heading = role == "system" ? "System"
                                : role == "user" ? "You"
                                : role == "tool" ? "Tool"
                                                 : "Model";
    out += fmt::format("{}## {}\n\n", out.empty() ? "" : "\n", heading);
    std::string text = content_of(message);
    if (role == "tool") text = fmt::format("````\n{}\n````", text);
    if (!text.empty()) out += text + (text.ends_with('\n') ? "" : "\n");
    for (const Json& call : message.value("tool_calls", Json::array())) {
      out += fmt::format("\nCalls `{}` with `{}`\n", call["function"]["name"].get<std::string>(),
                         call["function"]["arguments"].get<std::string>());
    }
  }
  return out;
}

}  // namespace flashmoe
