// Damaged requests: each is read, or refused with a line for the client; nothing else gets out.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "flashmoe/error.h"
#include "prompt_request.h"
#include "serve/anthropic_request.h"
#include "serve/api_error.h"
#include "serve/openai_chat_request.h"
#include "serve/openai_responses_request.h"
#include "support/mutation.h"

namespace flashmoe {
namespace {

constexpr const char* kChat =
    R"({"model": "m", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text",
    "text": "b"}]}, {"role": "assistant", "content": null, "reasoning_content": "c", "tool_calls": [{"id": "call_1",
    "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1, 2.5, null]}"}}]}, {"role": "tool",
    "tool_call_id": "call_1", "content": "d"}], "tools": [{"type": "function", "function": {"name": "f", "description": "e",
    "parameters": {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "number"}}}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}}, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
    "seed": 7, "stop": ["x", "y"], "max_tokens": 5, "n": 2, "stream": true, "stream_options": {"include_usage": true},
    "logprobs": true, "top_logprobs": 3, "presence_penalty": 0.5, "response_format": {"type": "json_schema", "json_schema":
    {"name": "s", "schema": {"type": "object", "properties": {"a": {"enum": ["b", 1]}}, "required": ["a"]}}}})";

constexpr const char* kMessages =
    R"({"model": "m", "system": [{"type": "text", "text": "a"}], "max_tokens": 9, "messages": [{"role": "user", "content":
    "b"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "c", "signature": ""}, {"type": "text", "text":
    "d"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]}, {"role": "user", "content": [{"type":
    "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "e"}], "is_error": true}]}], "tools": [{"name":
    "f", "description": "g", "input_schema": {"type": "object", "properties": {}}}], "tool_choice": {"type": "tool", "name":
    "f"}, "temperature": 1, "top_k": 5, "stop_sequences": ["x"], "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stream": false})";

constexpr const char* kResponses =
    R"({"model": "m", "instructions": "a", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text",
    "text": "b"}]}, {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "c"}]}, {"type":
    "function_call", "call_id": "k", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "k",
    "output": "d"}], "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "auto",
    "max_output_tokens": 5, "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "store": false,
    "metadata": {"e": "g"}, "top_logprobs": 2, "include": ["message.output_text.logprobs"], "stream": true})";

void expect_harmless(const std::string& whole, uint64_t seed, const std::function<void(const std::string&)>& read) {
  ASSERT_NO_THROW(read(whole));
  Random random(seed);
  const int n = fuzz_count(3000);
  int n_read = 0;
  for (int i = 0; i < n; ++i) {
    const std::string body = random.below(4) == 0 ? mutated(whole, random) : mutated_json(whole, random);
    try {
      read(body);
      ++n_read;
    } catch (const ApiError& error) {
      ASSERT_EQ(error.status, 400) << body;
      ASSERT_STRNE(error.what(), "") << body;
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::input) << body;
    } catch (const std::exception& error) {
      FAIL() << error.what() << ": " << body;
    }
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_read, n / 20);
  EXPECT_LT(n_read, n * 19 / 20);
}

TEST(RequestMutation, Chats) { expect_harmless(kChat, 91, read_chat_completion_request); }
TEST(RequestMutation, Messages) {
  expect_harmless(kMessages, 92, [](const std::string& body) { read_messages_request(body, body.size() % 2 == 0); });
}
TEST(RequestMutation, Responses) { expect_harmless(kResponses, 93, read_responses_request); }
TEST(RequestMutation, RequestFiles) {
  expect_harmless(kChat, 94, [](const std::string& text) { read_request(text, "request.json", true); });
}

}  // namespace
}  // namespace flashmoe
