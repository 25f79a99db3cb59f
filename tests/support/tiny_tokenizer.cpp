#include "support/tiny_tokenizer.h"

#include <fmt/format.h>

#include "base/check.h"

namespace flashmoe {
namespace {

// The letter that stands for a byte in byte-level vocabularies: itself where it prints, else one from U+0100 on.
std::vector<std::string> byte_letters() {
  std::vector<std::string> letters;
  int moved = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = prints ? byte : 256 + moved++;
    std::string letter;
    if (code < 128) {
      letter += static_cast<char>(code);
    } else {
      letter += static_cast<char>(0xc0 | (code >> 6));
      letter += static_cast<char>(0x80 | (code & 63));
    }
    letters.push_back(letter);
  }
  return letters;
}

}  // namespace

TinyVocabulary tiny_vocabulary(int vocab_size) {
  const std::string space = byte_letters()[' '];
  TinyVocabulary vocabulary;
  vocabulary.tokens = byte_letters();
  vocabulary.merges = {{space, "t"}, {"h", "e"},  {space + "t", "he"}, {"i", "n"},
                       {"e", "r"},   {"in", "g"}, {space, "a"}};
  for (const auto& [left, right] : vocabulary.merges) vocabulary.tokens.push_back(left + right);
  vocabulary.first_mark = vocab_size - kTinyMarks;
  CHECK(vocabulary.first_mark >= static_cast<int>(vocabulary.tokens.size()));
  for (int i = 0; static_cast<int>(vocabulary.tokens.size()) < vocabulary.first_mark; ++i) {
    vocabulary.tokens.push_back(fmt::format("{}w{}", space, i));
  }
  for (const char* mark : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>",
                           "<tool_response>", "</tool_response>", "<think>", "</think>"}) {
    vocabulary.tokens.emplace_back(mark);
  }
  return vocabulary;
}

std::string tiny_chat_template() {
  return "{%- for m in messages -%}\n"
         "{{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' -}}\n"
         "{%- endfor -%}\n"
         "{%- if add_generation_prompt -%}\n"
         "{{- '<|im_start|>assistant\\n<think>\\n' -}}\n"
         "{%- if enable_thinking is defined and not enable_thinking -%}{{- '\\n</think>\\n\\n' -}}{%- endif -%}\n"
         "{%- endif -%}\n";
}

std::string tiny_split_pattern() {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

}  // namespace flashmoe
