#include "text/jinja/expression_parser.h"

#include <charconv>
#include <optional>

#include "text/jinja/syntax_depth.h"

namespace flashmoe::jinja {

namespace {

struct Operator {
  std::string_view symbol;
  BinaryOp op;
};
constexpr Operator kSums[] = {{"+", BinaryOp::add}, {"-", BinaryOp::subtract}};
constexpr Operator kProducts[] = {
    {"*", BinaryOp::multiply}, {"/", BinaryOp::divide}, {"//", BinaryOp::floor_divide}, {"%", BinaryOp::modulo}};

template <size_t N>
std::optional<BinaryOp> skip_operator(TokenStream& tokens, const Operator (&operators)[N]) {
  for (const Operator& o : operators) {
    if (tokens.skip_symbol(o.symbol)) return o.op;
  }
  return {};
}

std::optional<CompareOp> skip_comparison(TokenStream& tokens) {
  static constexpr std::pair<std::string_view, CompareOp> kSymbols[] = {{"==", CompareOp::eq}, {"!=", CompareOp::ne},
                                                                        {"<", CompareOp::lt},  {"<=", CompareOp::le},
                                                                        {">", CompareOp::gt},  {">=", CompareOp::ge}};
  for (const auto& [symbol, op] : kSymbols) {
    if (tokens.skip_symbol(symbol)) return op;
  }
  if (tokens.skip_name("in")) return CompareOp::in;
  if (tokens.is_name("not") && tokens.ahead().kind == Token::Kind::name && tokens.ahead().text == "in") {
    tokens.next(), tokens.next();
    return CompareOp::not_in;
  }
  return {};
}

}  // namespace

class ExpressionParser::Nesting {
 public:
  explicit Nesting(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.nesting_ > kMaxSyntaxDepth) fail_at(parser_.tokens_.line(), "an expression is nested too deep");
  }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  ExpressionParser& parser_;
};

ExprPtr ExpressionParser::make(int line, Expr::Node node) const {
  const int depth = depth_below(node) + 1;
  if (depth > kMaxSyntaxDepth) fail_at(line, "an expression is nested too deep");
  return std::make_unique<const Expr>(Expr{std::move(node), line, depth});
}

ExprPtr ExpressionParser::expression(bool with_conditional) { return with_conditional ? conditional() : logical_or(); }

ExprPtr ExpressionParser::conditional() {
  const Nesting nesting(*this);
  int line = tokens_.line();
  ExprPtr then = logical_or();
  while (tokens_.skip_name("if")) {
    ExprPtr condition = logical_or();
    ExprPtr otherwise = tokens_.skip_name("else") ? conditional() : nullptr;
    then = make(line, Conditional{std::move(condition), std::move(then), std::move(otherwise)});
    line = tokens_.line();
  }
  return then;
}

ExprPtr ExpressionParser::logical_or() {
  const int line = tokens_.line();
  ExprPtr left = logical_and();
  while (tokens_.skip_name("or")) left = make(line, Binary{BinaryOp::or_, std::move(left), logical_and()});
  return left;
}

ExprPtr ExpressionParser::logical_and() {
  const int line = tokens_.line();
  ExprPtr left = logical_not();
  while (tokens_.skip_name("and")) left = make(line, Binary{BinaryOp::and_, std::move(left), logical_not()});
  return left;
}

ExprPtr ExpressionParser::logical_not() {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  if (tokens_.skip_name("not")) return make(line, Unary{UnaryOp::not_, logical_not()});
  return comparison();
}

ExprPtr ExpressionParser::comparison() {
  const int line = tokens_.line();
  Compare compare{sum(), {}};
  while (const auto op = skip_comparison(tokens_)) compare.rest.emplace_back(*op, sum());
  return compare.rest.empty() ? std::move(compare.first) : make(line, std::move(compare));
}

ExprPtr ExpressionParser::sum() {
  const int line = tokens_.line();
  ExprPtr left = concatenation();
  while (const auto op = skip_operator(tokens_, kSums))
    left = make(line, Binary{*op, std::move(left), concatenation()});
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  const int line = tokens_.line();
  Concat concat;
  concat.parts.push_back(product());
  while (tokens_.skip_symbol("~")) concat.parts.push_back(product());
  return concat.parts.size() == 1 ? std::move(concat.parts[0]) : make(line, std::move(concat));
}

ExprPtr ExpressionParser::product() {
  const int line = tokens_.line();
  ExprPtr left = power();
  while (const auto op = skip_operator(tokens_, kProducts)) left = make(line, Binary{*op, std::move(left), power()});
  return left;
}

ExprPtr ExpressionParser::power() {
  const int line = tokens_.line();
  ExprPtr left = unary(true);
  while (tokens_.skip_symbol("**")) left = make(line, Binary{BinaryOp::power, std::move(left), unary(true)});
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  ExprPtr node;
  if (tokens_.skip_symbol("-")) {
    node = make(line, Unary{UnaryOp::minus, unary(false)});
  } else if (tokens_.skip_symbol("+")) {
    node = make(line, Unary{UnaryOp::plus, unary(false)});
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::primary() {
  const int line = tokens_.line();
  switch (tokens_.current().kind) {
    case Token::Kind::name:
      return name();
    case Token::Kind::integer:
    case Token::Kind::real:
      return number();
    case Token::Kind::string: {
      std::string text;
      while (tokens_.is(Token::Kind::string)) text += tokens_.next().text;
      return make(line, Literal{Value(std::move(text))});
    }
    default:
      break;
  }
  if (tokens_.skip_symbol("(")) {
    ExprPtr inside = tuple(true, {}, true);
    tokens_.expect_symbol(")");
    return inside;
  }
  if (tokens_.is_symbol("[")) return list();
  if (tokens_.is_symbol("{")) return dict();
  tokens_.unexpected("an expression");
}

ExprPtr ExpressionParser::name() {
  const Token token = tokens_.next();
  const std::string& text = token.text;
  if (text == "true" || text == "True") return make(token.line, Literal{Value(true)});
  if (text == "false" || text == "False") return make(token.line, Literal{Value(false)});
  if (text == "none" || text == "None") return make(token.line, Literal{Value::none()});
  names_read_.push_back(text);
  return make(token.line, Name{text});
}

ExprPtr ExpressionParser::number() {
  const Token token = tokens_.next();
  const char *begin = token.text.data(), *end = begin + token.text.size();
  if (token.kind == Token::Kind::real) {
    double value = 0;
    std::from_chars(begin, end, value);
    return make(token.line, Literal{Value(value)});
  }
  int64_t value = 0;
  const auto result = std::from_chars(begin, end, value);
  if (result.ec != std::errc()) fail_at(token.line, fmt::format("the integer {} does not fit 64 bits", token.text));
  if (token.text.size() > 1 && token.text[0] == '0' && value != 0) fail_at(token.line, "an integer begins with 0");
  return make(token.line, Literal{Value(value)});
}

ExprPtr ExpressionParser::list() {
  const int line = tokens_.line();
  SequenceLiteral literal{{}, false};
  tokens_.expect_symbol("[");
  while (!tokens_.is_symbol("]")) {
    if (!literal.items.empty()) tokens_.expect_symbol(",");
    if (tokens_.is_symbol("]")) break;
    literal.items.push_back(expression());
  }
  tokens_.expect_symbol("]");
  return make(line, std::move(literal));
}

ExprPtr ExpressionParser::dict() {
  const int line = tokens_.line();
  DictLiteral literal;
  tokens_.expect_symbol("{");
  while (!tokens_.is_symbol("}")) {
    if (!literal.entries.empty()) tokens_.expect_symbol(",");
    if (tokens_.is_symbol("}")) break;
    ExprPtr key = expression();
    tokens_.expect_symbol(":");
    literal.entries.emplace_back(std::move(key), expression());
  }
  tokens_.expect_symbol("}");
  return make(line, std::move(literal));
}

bool ExpressionParser::ends_tuple(std::string_view end) const {
  return tokens_.is(Token::Kind::print_end) || tokens_.is(Token::Kind::block_end) || tokens_.is_symbol(")") ||
         (!end.empty() && tokens_.is_name(end));
}

ExprPtr ExpressionParser::tuple(bool with_conditional, std::string_view end, bool may_be_empty) {
  const int line = tokens_.line();
  SequenceLiteral literal{{}, true};
  bool is_tuple = false;
  while (!ends_tuple(end)) {
    literal.items.push_back(expression(with_conditional));
    if (!tokens_.skip_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !literal.items.empty()) return std::move(literal.items[0]);
  if (!is_tuple && !may_be_empty) tokens_.unexpected("an expression");
  return make(line, std::move(literal));
}

ExprPtr ExpressionParser::postfix(ExprPtr object) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.is_symbol(".")) {
      object = attribute(std::move(object));
    } else if (tokens_.is_symbol("[")) {
      object = subscript(std::move(object));
    } else if (tokens_.is_symbol("(")) {
      object = make(line, Call{std::move(object), call_arguments()});
    } else {
      return object;
    }
  }
}

ExprPtr ExpressionParser::attribute(ExprPtr object) {
  const int line = tokens_.line();
  tokens_.expect_symbol(".");
  if (tokens_.is(Token::Kind::integer)) return make(line, Subscript{std::move(object), number()});
  return make(line, Attribute{std::move(object), tokens_.expect_any_name()});
}

ExprPtr ExpressionParser::subscript(ExprPtr object) {
  const int line = tokens_.line();
  tokens_.expect_symbol("[");
  ExprPtr parts[3];
  size_t colons = 0;
  if (tokens_.is_symbol("]")) tokens_.unexpected("a subscript");
  while (!tokens_.is_symbol("]")) {
    if (tokens_.is_symbol(":")) {
      if (++colons > 2) tokens_.unexpected("']'");
      tokens_.next();
    } else {
      if (parts[colons]) tokens_.unexpected("':' or ']'");
      parts[colons] = expression();
    }
  }
  tokens_.expect_symbol("]");
  if (colons == 0) return make(line, Subscript{std::move(object), std::move(parts[0])});
  return make(line, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr input) {
  while (true) {
    const int line = tokens_.line();
    if (tokens_.is_symbol("|")) {
      input = filters(std::move(input), false);
    } else if (tokens_.is_name("is")) {
      input = test(std::move(input));
    } else if (tokens_.is_symbol("(")) {
      input = make(line, Call{std::move(input), call_arguments()});
    } else {
      return input;
    }
  }
}

ExprPtr ExpressionParser::filters(ExprPtr input, bool starts_inside) {
  while (starts_inside || tokens_.skip_symbol("|")) {
    starts_inside = false;
    const int line = tokens_.line();
    std::string filter = tokens_.expect_any_name();
    CallArguments arguments = tokens_.is_symbol("(") ? call_arguments() : CallArguments{};
    input = make(line, Filter{std::move(input), std::move(filter), std::move(arguments)});
  }
  return input;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
  const int line = tokens_.line();
  tokens_.expect_name("is");
  const bool negated = tokens_.skip_name("not");
  Test test{std::move(input), tokens_.expect_any_name(), {}};
  const bool operand = tokens_.is(Token::Kind::string) || tokens_.is(Token::Kind::integer) ||
                       tokens_.is(Token::Kind::real) || tokens_.is_symbol("[") || tokens_.is_symbol("{") ||
                       tokens_.is(Token::Kind::name);
  if (tokens_.is_symbol("(")) {
    test.arguments = call_arguments();
  } else if (operand && !tokens_.is_name("else") && !tokens_.is_name("or") && !tokens_.is_name("and")) {
    if (tokens_.is_name("is")) fail_at(line, "tests cannot be chained with is");
    test.arguments.positional.push_back(postfix(primary()));
  }
  ExprPtr node = make(line, std::move(test));
  return negated ? make(line, Unary{UnaryOp::not_, std::move(node)}) : std::move(node);
}

CallArguments ExpressionParser::call_arguments() {
  const int line = tokens_.line();
  CallArguments arguments;
  bool first = true;
  tokens_.expect_symbol("(");
  while (!tokens_.is_symbol(")")) {
    if (!first) tokens_.expect_symbol(",");
    first = false;
    if (tokens_.is_symbol(")")) break;
    const bool named =
        tokens_.is(Token::Kind::name) && tokens_.ahead().kind == Token::Kind::symbol && tokens_.ahead().text == "=";
    const bool closed = arguments.rest != nullptr || arguments.named_rest != nullptr;
    if (tokens_.skip_symbol("*")) {
      if (closed) fail_at(line, "arguments follow * or **");
      arguments.rest = expression();
    } else if (tokens_.skip_symbol("**")) {
      if (arguments.named_rest) fail_at(line, "arguments follow **");
      arguments.named_rest = expression();
    } else if (named) {
      if (arguments.named_rest) fail_at(line, "arguments follow **");
      std::string key = tokens_.next().text;
      tokens_.next();
      arguments.named.emplace_back(std::move(key), expression());
    } else {
      if (closed || !arguments.named.empty()) fail_at(line, "a positional argument follows a named one");
      arguments.positional.push_back(expression());
    }
  }
  tokens_.expect_symbol(")");
  return arguments;
}

}  // namespace flashmoe::jinja
