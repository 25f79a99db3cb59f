// A byte-level vocabulary with a few merges, filler words and the chat marks at its end.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace flashmoe {

struct TinyVocabulary {
  std::vector<std::string> tokens;  // all of them, marks included, by id
  std::vector<std::pair<std::string, std::string>> merges;
  int first_mark = 0;  // <|endoftext|>, <|im_start|>, <|im_end|>: special; then
                       // <tool_call> ... </think>: ordinary added tokens
  int end_of_text() const { return first_mark; }
  int end_of_turn() const { return first_mark + 2; }
};

inline constexpr int kTinySpecialMarks = 3, kTinyMarks = 9;

TinyVocabulary tiny_vocabulary(int vocab_size);
std::string tiny_chat_template();
// Qwen3.5's splitting pattern.
std::string tiny_split_pattern();

}  // namespace flashmoe
