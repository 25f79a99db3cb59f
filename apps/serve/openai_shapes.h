// Pieces that OpenAI's APIs share.
#pragma once

#include <vector>

#include "serve/collected.h"
#include "serve/request_fields.h"

namespace flashmoe {

// Adds to a completion `json` what it took. "usage": {"prompt_tokens", "completion_tokens", "total_tokens", and their
// details}, over all choices: a prompt that several choices share counts once. "timings", of the choice that took
// longest, from the request on: {"queue_ms", "prompt_ms", "first_token_ms", "predicted_ms"}.
void tell_usage(Json& json, const std::vector<Collected>& choices, size_t choices_per_prompt);
// "stop", "length", "tool_calls"
const char* finish_reason(const Collected& answer);
// [{"token", "logprob", "bytes", "top_logprobs"}]
Json logprobs(const std::vector<SampledToken>& tokens);
// The same as chat has it.
Json chat_logprobs(const std::vector<SampledToken>& tokens);
// The legacy completions' logprobs; `offset` is where the first token's text begins.
Json completion_logprobs(const std::vector<SampledToken>& tokens, size_t offset);

}  // namespace flashmoe
