// A request of messages and tools -> the prompt the model was trained on.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace flashmoe {

class ChatTemplate {
 public:
  // The file at `path`, or, where that is empty, from chat_template.jinja, tokenizer_config.json or GGUF's
  // tokenizer.chat_template; null when there is none. Throws Error{io} where the file cannot be read.
  static std::unique_ptr<ChatTemplate> load(const Checkpoint& checkpoint, const std::string& path = {});
  // The text of the same; nothing when there is none.
  static std::optional<std::string> source_of(const Checkpoint& checkpoint);
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();

  // Why it does not parse (line and reason), which render() throws; empty: it does.
  const std::string& fault() const;

  // It tells the model to write calls of tools as JSON objects, not as <function=NAME>.
  bool has_json_calls() const { return has_json_calls_; }

  // Keys keep the order of the request: tool definitions are written into the prompt in it.
  // request: {"messages": [...], "tools": [...], "enable_thinking": bool, and whatever else the template reads}.
  // add_generation_prompt is true unless given. Where "enable_thinking" is false, a <think> that the prompt would end in
  // is closed. System messages behind others become the user's where the template refuses them. Throws Error{input} with
  // the template's own message.
  std::string render(const nlohmann::ordered_json& request) const;

  // The same as ids. Marks of the tokenizer that stand inside user, system, developer and tool messages or tool
  // definitions become ordinary text, not control tokens.
  std::vector<int32_t> encode(const nlohmann::ordered_json& request, const Tokenizer& tokenizer) const;

 private:
  struct Parsed;
  std::unique_ptr<Parsed> parsed_;
  bool has_json_calls_;
};

}  // namespace flashmoe
