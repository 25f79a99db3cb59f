// What a chat completion asks for.
#pragma once

#include <string_view>

#include "flashmoe/service.h"
#include "serve/chat_prompt.h"

namespace flashmoe {

struct ChatCompletionRequest {
  Request request;
  int64_t n = 1;
  bool stream = false, include_usage = false;
};

// Throws ApiError 400.
ChatCompletionRequest read_chat_completion_request(std::string_view body);

// "tool_choice": a word, or an object that names a function: {"type": "function", "name"}, or with the name in
// "function". To be called after all tools.
void read_tool_choice(const RequestFields& fields, ChatPrompt& prompt);

}  // namespace flashmoe
