#include "serve/openai_shapes.h"

namespace flashmoe {
namespace {

Json told(const TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char byte : token.bytes) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token.bytes}, {"logprob", token.logprob}, {"bytes", bytes}};
}

}  // namespace

Json openai_usage(const std::vector<Usage>& choices, size_t choices_per_prompt) {
  Usage sum;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i % choices_per_prompt == 0) {
      sum.prompt_tokens += choices[i].prompt_tokens;
      sum.cached_tokens += choices[i].cached_tokens;
    }
    sum.answer_tokens += choices[i].answer_tokens;
    sum.thinking_tokens += choices[i].thinking_tokens;
  }
  return {{"prompt_tokens", sum.prompt_tokens},
          {"completion_tokens", sum.answer_tokens},
          {"total_tokens", sum.prompt_tokens + sum.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", sum.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", sum.thinking_tokens}}}};
}

const char* finish_reason(const Collected& answer) {
  if (answer.cut()) return "length";
  return answer.calls.empty() ? "stop" : "tool_calls";
}

Json chat_logprobs(const std::vector<SampledToken>& tokens) {
  Json content = Json::array();
  for (const SampledToken& token : tokens) {
    Json entry = told(token.token);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : token.likeliest) entry["top_logprobs"].push_back(told(other));
    content.push_back(entry);
  }
  return {{"content", content}, {"refusal", nullptr}};
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
