#include "serve/openai_chat_request.h"

#include <fmt/format.h>

#include <limits>

#include "serve/sampling_fields.h"

namespace flashmoe {
namespace {

constexpr int64_t kMostChoices = 16;

std::string assistant_content(const RequestFields& message) {
  const Json* content = message.find("content");
  return content == nullptr ? "" : content_text(*content, message.at("content"));
}

std::vector<ToolCall> read_calls(const RequestFields& message) {
  std::vector<ToolCall> calls;
  const Json* given = message.array("tool_calls");
  for (size_t i = 0; given != nullptr && i < given->size(); ++i) {
    const RequestFields call((*given)[i], fmt::format("{}[{}].", message.at("tool_calls"), i));
    const auto function = call.object("function");
    if (!function) bad_request(call.at("function"), "an object is expected");
    calls.push_back({call.text("id").value_or(""), function->filled_text("name"), call_arguments(*function)});
  }
  return calls;
}

void read_message(const RequestFields& message, ChatPrompt& prompt) {
  message.required_text("role");
  const std::string role = *message.word("role", {"system", "developer", "user", "assistant", "tool"});
  if (role == "system" || role == "developer") {
    prompt.add_system(required_content(message));
  } else if (role == "user") {
    prompt.add_user(required_content(message));
  } else if (role == "assistant") {
    message.refuse("function_call", "functions are called through tool_calls");
    const auto thinking =
        message.has("reasoning_content") ? message.text("reasoning_content") : message.text("reasoning");
    prompt.add_assistant(assistant_content(message), thinking.value_or(""), read_calls(message));
  } else {
    prompt.add_tool_result(message.required_text("tool_call_id"), required_content(message));
  }
}

void read_tools(const RequestFields& fields, ChatPrompt& prompt) {
  const Json* tools = fields.array("tools");
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const RequestFields tool((*tools)[i], fmt::format("tools[{}].", i));
    tool.required_text("type");
    tool.word("type", {"function"});
    const auto function = tool.object("function");
    if (!function) bad_request(tool.at("function"), "an object is expected");
    prompt.add_tool(*function, "parameters");
  }
}

Constraint read_response_format(const RequestFields& fields) {
  const auto format = fields.object("response_format");
  if (!format) return {};
  format->required_text("type");
  const std::string type = *format->word("type", {"text", "json_object", "json_schema"});
  const auto named = format->object("json_schema");
  return json_constraint(type, named ? named->find("schema") : nullptr, format->at("json_schema.schema"));
}

void read_thinking(const RequestFields& fields, ChatPrompt& prompt, Request& request) {
  read_template_arguments(fields, prompt);
  if (const auto on = fields.boolean("enable_thinking")) prompt.think(*on);
  if (const auto effort =
          fields.word("reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"})) {
    apply_effort(*effort, prompt, request);
  }
  const auto budget = fields.integer("thinking_budget", 0, std::numeric_limits<int>::max());
  if (budget) request.max_thinking_tokens = *budget;
}

void refuse_what_is_not_built(const RequestFields& fields) {
  fields.refuse("functions", "is superseded; use tools");
  fields.refuse("function_call", "is superseded; use tool_choice");
  fields.refuse("audio", "is not supported: this model answers in text");
  fields.refuse("modalities", "only [\"text\"] is supported", Json::array({"text"}));
  fields.refuse("logit_bias", "is not supported");
  fields.refuse("web_search_options", "is not supported");
}

}  // namespace

void read_tool_choice(const RequestFields& fields, ChatPrompt& prompt) {
  const Json* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  if (choice->is_string()) {
    const std::string word = *fields.word("tool_choice", {"auto", "none", "required"});
    const auto kind = word == "none" ? ToolChoice::none : word == "auto" ? ToolChoice::automatic : ToolChoice::required;
    prompt.choose_tool(kind, "", "tool_choice");
    return;
  }
  const RequestFields named = *fields.object("tool_choice");
  named.word("type", {"function"});
  const auto function = named.object("function");
  prompt.choose_tool(ToolChoice::named, (function ? *function : named).required_text("name"), "tool_choice");
}

ChatCompletionRequest read_chat_completion_request(std::string_view body) {
  const Json json = parse_object(body);
  const RequestFields fields(json);
  refuse_what_is_not_built(fields);
  ChatCompletionRequest out;
  Request& request = out.request;
  ChatPrompt prompt;
  const Json& messages = fields.required_array("messages");
  if (messages.empty()) bad_request("messages", "at least one message is expected");
  for (size_t i = 0; i < messages.size(); ++i) {
    read_message(RequestFields(messages[i], fmt::format("messages[{}].", i)), prompt);
  }
  read_tools(fields, prompt);
  request.constraint = read_response_format(fields);
  read_tool_choice(fields, prompt);
  read_thinking(fields, prompt, request);
  request.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  read_sampling(fields, request.generate.sampling);
  read_stop(fields, "stop", request.generate);
  read_max_tokens(fields, {"max_completion_tokens", "max_tokens"}, request.generate);
  const auto likeliest = fields.integer("top_logprobs", 0, kMostLogprobs);
  const bool logprobs = fields.boolean("logprobs").value_or(false);
  if (likeliest.value_or(0) > 0 && !logprobs) bad_request("top_logprobs", "logprobs must be true");
  if (logprobs) request.n_logprobs = static_cast<int>(likeliest.value_or(0));
  prompt.write_to(request);
  out.n = fields.integer("n", 1, kMostChoices).value_or(1);
  out.stream = fields.boolean("stream").value_or(false);
  if (const auto options = fields.object("stream_options")) {
    if (!out.stream) bad_request("stream_options", "stream must be true");
    out.include_usage = options->boolean("include_usage").value_or(false);
  }
  return out;
}

}  // namespace flashmoe
