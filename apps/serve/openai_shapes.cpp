#include "serve/openai_shapes.h"

#include <cmath>

namespace flashmoe {
namespace {

Json told(const TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char byte : token.bytes) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token.bytes}, {"logprob", token.logprob}, {"bytes", bytes}};
}

double milliseconds(double seconds) { return std::round(seconds * 1e6) / 1e3; }

}  // namespace

void tell_usage(Json& json, const std::vector<Collected>& choices, size_t choices_per_prompt) {
  Usage sum, longest;
  for (size_t i = 0; i < choices.size(); ++i) {
    const Usage& usage = choices[i].usage;
    if (i % choices_per_prompt == 0) {
      sum.prompt_tokens += usage.prompt_tokens;
      sum.cached_tokens += usage.cached_tokens;
    }
    sum.answer_tokens += usage.answer_tokens;
    sum.thinking_tokens += usage.thinking_tokens;
    if (i == 0 || usage.ttft_s + usage.decode_s > longest.ttft_s + longest.decode_s) longest = usage;
  }
  json["usage"] = {{"prompt_tokens", sum.prompt_tokens},
                   {"completion_tokens", sum.answer_tokens},
                   {"total_tokens", sum.prompt_tokens + sum.answer_tokens},
                   {"prompt_tokens_details", {{"cached_tokens", sum.cached_tokens}}},
                   {"completion_tokens_details", {{"reasoning_tokens", sum.thinking_tokens}}}};
  json["timings"] = {{"queue_ms", milliseconds(longest.waited_s)},
                     {"prompt_ms", milliseconds(longest.prefill_s)},
                     {"first_token_ms", milliseconds(longest.ttft_s)},
                     {"predicted_ms", milliseconds(longest.decode_s)}};
}

const char* finish_reason(const Collected& answer) {
  if (answer.cut()) return "length";
  return answer.calls.empty() ? "stop" : "tool_calls";
}

Json logprobs(const std::vector<SampledToken>& tokens) {
  Json list = Json::array();
  for (const SampledToken& token : tokens) {
    Json entry = told(token.token);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : token.likeliest) entry["top_logprobs"].push_back(told(other));
    list.push_back(entry);
  }
  return list;
}

Json chat_logprobs(const std::vector<SampledToken>& tokens) {
  return {{"content", logprobs(tokens)}, {"refusal", nullptr}};
}

Json completion_logprobs(const std::vector<SampledToken>& tokens, size_t offset) {
  Json out = {{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (const SampledToken& token : tokens) {
    out["tokens"].push_back(token.token.bytes);
    out["token_logprobs"].push_back(token.token.logprob);
    Json likeliest = Json::object();
    for (const TokenLogprob& other : token.likeliest) likeliest[other.bytes] = other.logprob;
    out["top_logprobs"].push_back(likeliest);
    out["text_offset"].push_back(offset);
    offset += token.token.bytes.size();
  }
  return out;
}

}  // namespace flashmoe
