// A request as the tokens that the model reads, and how its answer begins.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/engine_parts.h"
#include "flashmoe/service.h"
#include "text/answer_reader.h"

namespace flashmoe {

struct Prompt {
  std::vector<int32_t> ids;
  nlohmann::ordered_json chat;  // the request, calls' arguments as objects; null: plain text or ids
  size_t chat_bytes = 0;        // that its text had
  nlohmann::ordered_json tools;
  std::vector<int64_t> stops;  // where a later prompt may part from this one; blocks of the delta rule end there
  AnswerReader::Opening opening = AnswerReader::Opening::plain;
};

// A chat's tokens. What the assistant said with calls of tools is in the words that it was sampled in, where these are
// known. Throws Error{input} with what the template raises.
std::vector<int32_t> chat_ids(const nlohmann::ordered_json& chat, const EngineParts& parts);

// Throws Error{input} for bad JSON, whatever the template raises, and an empty prompt; Error{unsupported} without
// tokenizer or template where one is needed. Any thread.
Prompt read_prompt(const Request& request, const EngineParts& parts);
// Throws ContextExceeded where the context does not hold the prompt and one token of an answer.
void check_room(const Prompt& prompt, const EngineParts& parts);

}  // namespace flashmoe
