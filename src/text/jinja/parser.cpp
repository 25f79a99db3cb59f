#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "text/jinja/expression_parser.h"

namespace flashmoe::jinja {

namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)), expressions_(tokens_) {}

  Block run() { return block({}); }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements up to a tag named in `ends`, whose name is then current; none: up to the template's end.
  Block block(Ends ends);
  Block block_until(std::string_view end) {
    Block body = block({end});
    tokens_.next();
    return body;
  }
  void statement(Block& out);
  void add(Block& out, int line, decltype(Statement::node) node) {
    out.push_back(std::make_unique<const Statement>(Statement{std::move(node), line}));
  }

  If if_statement();
  For for_statement();
  void set_statement(Block& out, int line);
  With with_statement();
  Target target(std::string_view end, bool with_namespace);
  Target name_target();
  void signature(MacroBody& macro);
  void macro_body(MacroBody& macro, std::string_view end);

  TokenStream tokens_;
  ExpressionParser expressions_;
  int nesting_ = 0;
  int loops_ = 0;
};

Block Parser::block(Ends ends) {
  if (++nesting_ > kMaxSyntaxDepth) fail_at(tokens_.line(), "tags are nested too deep");
  Block body;
  while (true) {
    const int line = tokens_.line();
    switch (tokens_.current().kind) {
      case Token::Kind::end:
        if (ends.size() != 0) tokens_.unexpected(fmt::format("'{}'", *(ends.end() - 1)));
        --nesting_;
        return body;
      case Token::Kind::data:
        add(body, line, Text{tokens_.next().text});
        break;
      case Token::Kind::print_begin:
        tokens_.next();
        add(body, line, Print{expressions_.tuple(true, {})});
        tokens_.expect(Token::Kind::print_end, "'}}'");
        break;
      default:
        tokens_.expect(Token::Kind::block_begin, "a tag");
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return tokens_.is_name(end); })) {
          --nesting_;
          return body;
        }
        statement(body);
        tokens_.expect(Token::Kind::block_end, "'%}'");
    }
  }
}

void Parser::statement(Block& out) {
  const int line = tokens_.line();
  const std::string tag = tokens_.expect_any_name();
  if (tag == "if") return add(out, line, if_statement());
  if (tag == "for") return add(out, line, for_statement());
  if (tag == "set") return set_statement(out, line);
  if (tag == "with") return add(out, line, with_statement());
  if (tag == "macro") {
    Macro macro;
    macro.macro.name = tokens_.expect_any_name();
    signature(macro.macro);
    macro_body(macro.macro, "endmacro");
    return add(out, line, std::move(macro));
  }
  if (tag == "call") {
    CallBlock call;
    call.caller.name = "caller";
    if (tokens_.is_symbol("(")) signature(call.caller);
    call.call = expressions_.expression();
    if (!std::holds_alternative<Call>(call.call->node)) fail_at(line, "the tag call needs a call");
    macro_body(call.caller, "endcall");
    return add(out, line, std::move(call));
  }
  if (tag == "filter") {
    ExprPtr filter = expressions_.filters(nullptr, true);
    tokens_.expect(Token::Kind::block_end, "'%}'");
    return add(out, line, FilterBlock{std::move(filter), block_until("endfilter")});
  }
  if (tag == "generation") {  // marks what a model is trained on; renders as its body
    tokens_.expect(Token::Kind::block_end, "'%}'");
    return add(out, line, With{{}, block_until("endgeneration")});
  }
  if (tag == "print") {
    add(out, line, Print{expressions_.expression()});
    while (tokens_.skip_symbol(",")) add(out, line, Print{expressions_.expression()});
    return;
  }
  if (tag == "break" || tag == "continue") {
    if (loops_ == 0) fail_at(line, fmt::format("'{}' outside of a loop", tag));
    if (tag == "break") return add(out, line, Break{});
    return add(out, line, Continue{});
  }
  fail_at(line, fmt::format("the tag '{}' is not known here or not supported", tag));
}

If Parser::if_statement() {
  If node;
  while (true) {
    ExprPtr condition = expressions_.tuple(false, {});
    tokens_.expect(Token::Kind::block_end, "'%}'");
    node.branches.emplace_back(std::move(condition), block({"elif", "else", "endif"}));
    const std::string tag = tokens_.next().text;
    if (tag == "elif") continue;
    if (tag == "else") {
      tokens_.expect(Token::Kind::block_end, "'%}'");
      node.otherwise = block_until("endif");
    }
    return node;
  }
}

For Parser::for_statement() {
  For node;
  node.target = target("in", false);
  tokens_.expect_name("in");
  node.items = expressions_.tuple(false, "recursive");
  if (tokens_.skip_name("if")) node.condition = expressions_.expression();
  if (tokens_.is_name("recursive")) fail_at(tokens_.line(), "recursive loops are not supported");
  tokens_.expect(Token::Kind::block_end, "'%}'");
  ++loops_;
  node.body = block({"else", "endfor"});
  --loops_;
  if (tokens_.next().text == "else") {
    tokens_.expect(Token::Kind::block_end, "'%}'");
    node.otherwise = block_until("endfor");
  }
  return node;
}

void Parser::set_statement(Block& out, int line) {
  Target to = target({}, true);
  if (tokens_.skip_symbol("=")) return add(out, line, Set{std::move(to), expressions_.tuple(true, {})});
  ExprPtr filter = expressions_.filters(nullptr, false);
  tokens_.expect(Token::Kind::block_end, "'%}' or '='");
  add(out, line, SetBlock{std::move(to), std::move(filter), block_until("endset")});
}

With Parser::with_statement() {
  With node;
  while (!tokens_.is(Token::Kind::block_end)) {
    if (!node.values.empty()) tokens_.expect_symbol(",");
    Target to = name_target();
    tokens_.expect_symbol("=");
    node.values.emplace_back(std::move(to), expressions_.expression());
  }
  tokens_.next();
  node.body = block_until("endwith");
  return node;
}

Target Parser::name_target() {
  static constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
  Target to;
  const int line = tokens_.line();
  to.name = tokens_.expect_any_name();
  if (std::find(std::begin(kConstants), std::end(kConstants), to.name) != std::end(kConstants)) {
    fail_at(line, fmt::format("'{}' cannot be assigned to", to.name));
  }
  return to;
}

Target Parser::target(std::string_view end, bool with_namespace) {
  if (with_namespace && tokens_.ahead().kind == Token::Kind::symbol && tokens_.ahead().text == ".") {
    Target to = name_target();
    tokens_.next();
    to.attribute = tokens_.expect_any_name();
    return to;
  }
  Target all;
  while (!(!end.empty() && tokens_.is_name(end)) && !tokens_.is_symbol("=") && !tokens_.is_symbol(")")) {
    if (tokens_.skip_symbol("(")) {
      if (++nesting_ > kMaxSyntaxDepth) fail_at(tokens_.line(), "brackets are nested too deep");
      all.items.push_back(target({}, false));
      --nesting_;
      tokens_.expect_symbol(")");
    } else {
      all.items.push_back(name_target());
    }
    if (!tokens_.skip_symbol(",")) break;
    all.is_tuple = true;
  }
  if (all.items.empty()) tokens_.unexpected("a name");
  if (all.is_tuple) return all;
  return std::move(all.items[0]);
}

void Parser::signature(MacroBody& macro) {
  tokens_.expect_symbol("(");
  while (!tokens_.is_symbol(")")) {
    if (!macro.parameters.empty()) tokens_.expect_symbol(",");
    Parameter parameter{name_target().name, nullptr};
    if (tokens_.skip_symbol("=")) {
      parameter.default_value = expressions_.expression();
    } else if (!macro.parameters.empty() && macro.parameters.back().default_value) {
      fail_at(tokens_.line(), "a parameter without a default follows one with a default");
    }
    macro.parameters.push_back(std::move(parameter));
  }
  tokens_.expect_symbol(")");
}

void Parser::macro_body(MacroBody& macro, std::string_view end) {
  tokens_.expect(Token::Kind::block_end, "'%}'");
  std::vector<std::string> outside = std::move(expressions_.names_read());
  expressions_.names_read().clear();
  const int loops_outside = std::exchange(loops_, 0);
  macro.body = block_until(end);
  loops_ = loops_outside;
  const std::vector<std::string> inside = std::exchange(expressions_.names_read(), std::move(outside));
  const auto reads = [&](std::string_view name) {
    return std::find(inside.begin(), inside.end(), name) != inside.end();
  };
  macro.uses_caller = reads("caller");
  macro.uses_varargs = reads("varargs");
  macro.uses_kwargs = reads("kwargs");
}

}  // namespace

Block parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    fail(Fault::input, "the chat template has {} bytes; at most {} are accepted", source.size(), kMaxSourceBytes);
  }
  return Parser(source).run();
}

}  // namespace flashmoe::jinja
