// The OpenAI-shaped request behind a prompt.
#pragma once

#include <string>
#include <vector>

namespace flashmoe {

struct PromptRequest {
  std::string json;                 // for Engine::chat_prompt
  std::vector<std::string> unread;  // fields of a request file that choose how to answer: options do that here
};

// One user message, with a system message unless `system` is empty. Invalid UTF-8 becomes U+FFFD.
PromptRequest ask(const std::string& prompt, const std::string& system, bool no_think);

// A request as it stands in a file. Throws Error{input} with line and column when it is not JSON, or not an object.
PromptRequest read_request(const std::string& text, const std::string& name, bool no_think);

}  // namespace flashmoe
