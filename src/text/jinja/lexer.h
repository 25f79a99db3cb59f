// Template text -> tokens, with trim_blocks and lstrip_blocks on, as chat templates are written for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flashmoe::jinja {

struct Token {
  enum class Kind { data, block_begin, block_end, print_begin, print_end, name, string, integer, real, symbol, end };
  Kind kind = Kind::end;
  std::string text;  // string: its value; number: its digits
  int line = 1;
};

// Throws Error{input}; the last token is Kind::end.
std::vector<Token> tokenize(std::string_view source);

// "chat template, line N: <message>" on one line.
[[noreturn]] void fail_at(int line, std::string_view message);

}  // namespace flashmoe::jinja
