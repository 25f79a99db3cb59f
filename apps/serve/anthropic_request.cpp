#include "serve/anthropic_request.h"

#include <fmt/format.h>

#include <limits>

#include "serve/chat_prompt.h"
#include "serve/sampling_fields.h"

namespace flashmoe {
namespace {

constexpr int64_t kMostInt = std::numeric_limits<int>::max();

// A tool's answer: text, or blocks of text; an error is told as one.
void add_result(const RequestFields& block, ChatPrompt& prompt) {
  const Json* content = block.find("content");
  std::string text = content == nullptr ? "" : content_text(*content, block.at("content"));
  if (block.boolean("is_error").value_or(false)) text = "Error: " + text;
  prompt.add_tool_result(block.required_text("tool_use_id"), text);
}

void add_user(const RequestFields& message, const Json& content, ChatPrompt& prompt) {
  if (content.is_string()) return prompt.add_user(content.get<std::string>());
  std::string text;
  bool any_text = false;
  for (size_t i = 0; i < content.size(); ++i) {
    const RequestFields block(content[i], fmt::format("{}[{}].", message.at("content"), i));
    if (block.required_text("type") == "tool_result") {
      add_result(block, prompt);
    } else {
      text += (any_text ? "\n" : "") + content_text(Json::array({content[i]}), message.at("content"));
      any_text = true;
    }
  }
  if (any_text) prompt.add_user(text);
}

void add_assistant(const RequestFields& message, const Json& content, ChatPrompt& prompt) {
  if (content.is_string()) return prompt.add_assistant(content.get<std::string>(), "", {});
  std::string text, thinking;
  std::vector<ToolCall> calls;
  for (size_t i = 0; i < content.size(); ++i) {
    const RequestFields block(content[i], fmt::format("{}[{}].", message.at("content"), i));
    const std::string type = block.required_text("type");
    if (type == "thinking") {
      thinking += block.required_text("thinking");
    } else if (type == "redacted_thinking") {
      bad_request(block.at("type"), "redacted thinking of another service cannot be read");
    } else if (type == "tool_use") {
      const auto input = block.object("input");
      calls.push_back(
          {block.required_text("id"), block.filled_text("name"), input ? dump(input->json()) : std::string("{}")});
    } else {
      text += content_text(Json::array({content[i]}), message.at("content"));
    }
  }
  prompt.add_assistant(text, thinking, calls);
}

void read_conversation(const RequestFields& fields, ChatPrompt& prompt) {
  if (const Json* system = fields.find("system")) prompt.add_system(content_text(*system, "system"));
  const Json& messages = fields.required_array("messages");
  if (messages.empty()) bad_request("messages", "at least one message is expected");
  for (size_t i = 0; i < messages.size(); ++i) {
    const RequestFields message(messages[i], fmt::format("messages[{}].", i));
    message.required_text("role");
    const std::string role = *message.word("role", {"user", "assistant", "system"});
    const Json* content = message.find("content");
    if (content == nullptr || !(content->is_string() || content->is_array())) {
      bad_request(message.at("content"), "a string or a list of blocks is expected");
    }
    if (role == "user") {
      add_user(message, *content, prompt);
    } else if (role == "system") {
      prompt.add_system(content_text(*content, message.at("content")));
    } else {
      add_assistant(message, *content, prompt);
    }
  }
}

void read_tools(const RequestFields& fields, ChatPrompt& prompt) {
  const Json* tools = fields.array("tools");
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const RequestFields tool((*tools)[i], fmt::format("tools[{}].", i));
    tool.word("type", {"custom"});
    if (!tool.has("input_schema")) bad_request(tool.at("input_schema"), "a JSON schema is expected");
    prompt.add_tool(tool, "input_schema");
  }
}

void read_tool_choice(const RequestFields& fields, ChatPrompt& prompt, Request& request) {
  const auto choice = fields.object("tool_choice");
  if (!choice) return;
  choice->required_text("type");
  const std::string type = *choice->word("type", {"auto", "any", "tool", "none"});
  request.parallel_tool_calls = !choice->boolean("disable_parallel_tool_use").value_or(false);
  const auto kind = type == "none"   ? ToolChoice::none
                    : type == "auto" ? ToolChoice::automatic
                    : type == "any"  ? ToolChoice::required
                                     : ToolChoice::named;
  prompt.choose_tool(kind, type == "tool" ? choice->required_text("name") : "", "tool_choice");
}

// Thinking is off unless asked for, as this API has it.
void read_thinking(const RequestFields& fields, ChatPrompt& prompt, Request& request) {
  prompt.think(false);
  read_template_arguments(fields, prompt);
  const auto config = fields.object("output_config");
  const auto effort = config ? config->word("effort", {"low", "medium", "high", "xhigh", "max"}) : std::nullopt;
  const auto thinking = fields.object("thinking");
  if (!thinking) return;
  thinking->required_text("type");
  const std::string type = *thinking->word("type", {"enabled", "disabled", "adaptive"});
  prompt.think(type != "disabled");
  if (type == "enabled") {
    const auto budget = thinking->integer("budget_tokens", 0, kMostInt);
    if (!budget) bad_request("thinking.budget_tokens", "a number is expected");
    request.max_thinking_tokens = *budget;
  }
  if (type == "adaptive" && effort) apply_effort(*effort, prompt, request);
}

Constraint read_format(const RequestFields& fields) {
  auto format = fields.object("output_format");
  if (const auto config = fields.object("output_config"); config && config->has("format")) {
    format = config->object("format");
  }
  if (!format) return {};
  format->required_text("type");
  format->word("type", {"json_schema"});
  return json_constraint("json_schema", format->find("schema"), format->at("schema"));
}

}  // namespace

MessagesRequest read_messages_request(std::string_view body, bool counting) {
  const Json json = parse_object(body);
  const RequestFields fields(json);
  fields.refuse("mcp_servers", "is not supported");
  fields.refuse("container", "is not supported");
  MessagesRequest out;
  Request& request = out.request;
  ChatPrompt prompt;
  read_conversation(fields, prompt);
  read_tools(fields, prompt);
  request.constraint = read_format(fields);
  read_tool_choice(fields, prompt, request);
  read_thinking(fields, prompt, request);
  read_sampling(fields, request.generate.sampling);
  read_stop(fields, "stop_sequences", request.generate);
  read_max_tokens(fields, {"max_tokens"}, request.generate);
  if (!counting && request.generate.max_tokens == 0) bad_request("max_tokens", "a number of 1 or more is expected");
  if (!counting && fields.find("messages")->back()["role"] == "assistant") {
    bad_request("messages", "the last one must be the user's: answers that are begun by the request are not supported");
  }
  out.stream = fields.boolean("stream").value_or(false);
  prompt.write_to(request);
  return out;
}

}  // namespace flashmoe
