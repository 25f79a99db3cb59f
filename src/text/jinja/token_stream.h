// The parser's place in the tokens.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/lexer.h"

namespace flashmoe::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  int line() const { return current().line; }

  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool is_symbol(std::string_view text) const { return is(Token::Kind::symbol) && current().text == text; }
  bool is_name(std::string_view text) const { return is(Token::Kind::name) && current().text == text; }
  bool skip_symbol(std::string_view text) { return is_symbol(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }

  void expect_symbol(std::string_view text) {
    if (!skip_symbol(text)) unexpected(fmt::format("'{}'", text));
  }
  void expect_name(std::string_view text) {
    if (!skip_name(text)) unexpected(fmt::format("'{}'", text));
  }
  void expect(Token::Kind kind, std::string_view what) {
    if (!is(kind)) unexpected(what);
    next();
  }
  std::string expect_any_name() {
    if (!is(Token::Kind::name)) unexpected("a name");
    return next().text;
  }

  [[noreturn]] void unexpected(std::string_view wanted) const {
    const std::string found = is(Token::Kind::end)         ? "the end of the template"
                              : is(Token::Kind::block_end) ? "'%}'"
                              : is(Token::Kind::print_end) ? "'}}'"
                                                           : fmt::format("'{}'", current().text.substr(0, 60));
    fail_at(line(), fmt::format("expected {}, found {}", wanted, found));
  }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace flashmoe::jinja
