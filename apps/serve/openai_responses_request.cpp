#include "serve/openai_responses_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "serve/chat_prompt.h"
#include "serve/openai_chat_request.h"
#include "serve/sampling_fields.h"

namespace flashmoe {
namespace {

void add_message(const RequestFields& item, ChatPrompt& prompt) {
  item.required_text("role");
  const std::string role = *item.word("role", {"system", "developer", "user", "assistant"});
  const std::string text = required_content(item);
  if (role == "user") {
    prompt.add_user(text);
  } else if (role == "assistant") {
    prompt.add_assistant(text, "", {});
  } else {
    prompt.add_system(text);
  }
}

void add_call(const RequestFields& item, ChatPrompt& prompt) {
  const ToolCall call{item.required_text("call_id"), item.filled_text("name"), call_arguments(item)};
  prompt.add_assistant("", "", {call});
}

void add_reasoning(const RequestFields& item, ChatPrompt& prompt) {
  std::string text;
  for (const char* name : {"content", "summary"}) {
    const Json* parts = item.array(name);
    for (size_t i = 0; parts != nullptr && text.empty() && i < parts->size(); ++i) {
      text += RequestFields((*parts)[i], fmt::format("{}[{}].", item.at(name), i)).required_text("text");
    }
  }
  prompt.add_assistant("", text, {});
}

void add_item(const RequestFields& item, ChatPrompt& prompt) {
  const std::string type = item.text("type").value_or("message");
  if (type == "message") {
    add_message(item, prompt);
  } else if (type == "function_call") {
    add_call(item, prompt);
  } else if (type == "function_call_output") {
    const Json* output = item.find("output");
    if (output == nullptr) bad_request(item.at("output"), "a string is expected");
    prompt.add_tool_result(item.required_text("call_id"), content_text(*output, item.at("output")));
  } else if (type == "reasoning") {
    add_reasoning(item, prompt);
  } else {
    bad_request(item.at("type"), fmt::format("'{}' is not supported", type));
  }
}

void read_input(const RequestFields& fields, ChatPrompt& prompt) {
  if (const auto instructions = fields.text("instructions")) prompt.add_system(*instructions);
  const Json* input = fields.find("input");
  if (input == nullptr) bad_request("input", "a string or a list of items is expected");
  if (input->is_string()) return prompt.add_user(input->get<std::string>());
  const Json& items = fields.required_array("input");
  if (items.empty()) bad_request("input", "at least one item is expected");
  for (size_t i = 0; i < items.size(); ++i) add_item(RequestFields(items[i], fmt::format("input[{}].", i)), prompt);
}

void read_tools(const RequestFields& fields, ChatPrompt& prompt) {
  const Json* tools = fields.array("tools");
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const RequestFields tool((*tools)[i], fmt::format("tools[{}].", i));
    tool.required_text("type");
    tool.word("type", {"function"});
    prompt.add_tool(tool, "parameters");
  }
}

Constraint read_format(const RequestFields& fields) {
  const auto text = fields.object("text");
  const auto format = text ? text->object("format") : std::nullopt;
  if (!format) return {};
  format->required_text("type");
  const std::string type = *format->word("type", {"text", "json_object", "json_schema"});
  return json_constraint(type, format->find("schema"), format->at("schema"));
}

// Told where "include" names them, or where likeliest ones are asked for.
void read_logprobs(const RequestFields& fields, Request& request) {
  const auto likeliest = fields.integer("top_logprobs", 0, kMostLogprobs);
  bool wanted = likeliest.value_or(0) > 0;
  if (const Json* include = fields.array("include")) {
    wanted = wanted || std::find(include->begin(), include->end(), "message.output_text.logprobs") != include->end();
  }
  if (wanted) request.n_logprobs = static_cast<int>(likeliest.value_or(0));
}

Json echo(const RequestFields& fields, const Request& request) {
  Json out;
  const auto repeat = [&](const char* name, const Json& otherwise) {
    const Json* value = fields.find(name);
    out[name] = value != nullptr ? *value : otherwise;
  };
  repeat("instructions", nullptr);
  repeat("max_output_tokens", nullptr);
  repeat("metadata", Json::object());
  out["parallel_tool_calls"] = request.parallel_tool_calls;
  out["previous_response_id"] = nullptr;
  repeat("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  out["store"] = false;
  out["temperature"] = request.generate.sampling.temperature;
  repeat("text", {{"format", {{"type", "text"}}}});
  repeat("tool_choice", "auto");
  repeat("tools", Json::array());
  out["top_p"] = request.generate.sampling.top_p;
  out["truncation"] = "disabled";
  return out;
}

}  // namespace

ResponsesRequest read_responses_request(std::string_view body) {
  const Json json = parse_object(body);
  const RequestFields fields(json);
  fields.refuse("previous_response_id", "responses are not stored here; send the whole input");
  fields.refuse("conversation", "conversations are not stored here; send the whole input");
  fields.refuse("background", "is not supported");
  fields.refuse("prompt", "stored prompts are not supported");
  fields.refuse("truncation", "only \"disabled\" is supported", "disabled");
  ResponsesRequest out;
  Request& request = out.request;
  ChatPrompt prompt;
  read_input(fields, prompt);
  read_tools(fields, prompt);
  request.constraint = read_format(fields);
  read_tool_choice(fields, prompt);
  read_template_arguments(fields, prompt);
  if (const auto reasoning = fields.object("reasoning")) {
    if (const auto effort = reasoning->word("effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"})) {
      apply_effort(*effort, prompt, request);
    }
  }
  request.parallel_tool_calls = fields.boolean("parallel_tool_calls").value_or(true);
  read_sampling(fields, request.generate.sampling);
  read_max_tokens(fields, {"max_output_tokens"}, request.generate);
  read_logprobs(fields, request);
  prompt.write_to(request);
  out.stream = fields.boolean("stream").value_or(false);
  out.echoed = echo(fields, request);
  return out;
}

}  // namespace flashmoe
