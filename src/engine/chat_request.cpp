#include "engine/chat_request.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "flashmoe/json_extent.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

Json parse(std::string_view json) {
  if (const auto excess = json_extent(json).excess()) fail(Fault::input, "the chat request {}", *excess);
  return Json::parse(json);
}

Json parse_or_null(std::string_view json) {
  try {
    return parse(json);
  } catch (const Json::exception&) {
    return nullptr;
  }
}

// Clients send a call's arguments as text; templates go through them as an object.
void read_arguments(Json& chat) {
  if (!chat.is_object() || !chat.contains("messages") || !chat["messages"].is_array()) return;
  for (Json& message : chat["messages"]) {
    if (!message.is_object() || !message.contains("tool_calls") || !message["tool_calls"].is_array()) continue;
    for (Json& call : message["tool_calls"]) {
      Json& function = call.is_object() && call.contains("function") ? call["function"] : call;
      if (!function.is_object() || !function.contains("arguments") || !function["arguments"].is_string()) continue;
      const auto& text = function["arguments"].get_ref<const std::string&>();
      Json arguments = text.empty() ? Json::object() : parse_or_null(text);
      if (!arguments.is_object()) fail(Fault::input, "the arguments of a tool call are not a JSON object: {}", text);
      function["arguments"] = std::move(arguments);
    }
  }
}

}  // namespace

Json parse_chat_request(std::string_view json) {
  try {
    Json chat = parse(json);
    read_arguments(chat);
    return chat;
  } catch (const Json::exception& error) {
    fail(Fault::input, "the chat request is not valid JSON: {}", error.what());
  }
}

}  // namespace flashmoe
