// Expressions of the template language.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace flashmoe::jinja {

constexpr int kMaxSyntaxDepth = 150;  // brackets in brackets, operators in a chain, tags in tags

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr expression(bool with_conditional = true);
  // Expressions with commas between; one without a comma is itself. `end`: a name that ends it, or empty.
  ExprPtr tuple(bool with_conditional, std::string_view end, bool may_be_empty = false);
  ExprPtr filters(ExprPtr input, bool starts_inside);

  // Names read since the caller last emptied it: tells which of its implicit arguments a macro reads.
  std::vector<std::string>& names_read() { return names_read_; }

 private:
  class Nesting;
  ExprPtr make(int line, Expr::Node node) const;
  ExprPtr conditional();
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters);
  ExprPtr primary();
  ExprPtr name();
  ExprPtr number();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr object);
  ExprPtr filters_and_tests(ExprPtr input);
  ExprPtr attribute(ExprPtr object);
  ExprPtr subscript(ExprPtr object);
  ExprPtr test(ExprPtr input);
  CallArguments call_arguments();
  bool ends_tuple(std::string_view end) const;

  TokenStream& tokens_;
  int nesting_ = 0;
  std::vector<std::string> names_read_;
};

}  // namespace flashmoe::jinja
