// One render under way: the state that expressions (evaluate.cpp) and statements (interpreter.cpp) share.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/lexer.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace flashmoe::jinja {

// Of expressions in expressions, statements in statements and macros in macros; a level takes up to 2 KB of stack in
// builds with sanitizers.
constexpr int kMaxDepth = 800;

// An error that names its line already.
struct LocatedError : Error {
  using Error::Error;
};

struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  Value* find(std::string_view name) {
    for (auto& [key, value] : names) {
      if (key == name) return &value;
    }
    return nullptr;
  }
  void set(const std::string& name, Value value) {
    if (Value* found = find(name)) {
      *found = std::move(value);
    } else {
      names.emplace_back(name, std::move(value));
    }
  }
};

enum class Flow : uint8_t { next, leave_loop, next_item };

class Interpreter {
 public:
  Interpreter(const Value& context, const Limits& limits)
      : context_(context), runtime_(Budget(limits.steps, limits.bytes)), scope_(std::make_shared<Scope>()) {}

  std::string run(const Block& block) {
    execute(block);
    return std::move(out_);
  }

  // Expressions
  Value evaluate(const Expr& expr);
  Value visit(const Literal& node, int) { return node.value; }
  Value visit(const Name& node, int);
  Value visit(const SequenceLiteral& node, int);
  Value visit(const DictLiteral& node, int);
  Value visit(const Unary& node, int);
  Value visit(const Binary& node, int);
  Value visit(const Concat& node, int);
  Value visit(const Compare& node, int);
  Value visit(const Conditional& node, int line);
  Value visit(const Attribute& node, int) { return attribute(evaluate(*node.object), node.name, runtime_); }
  Value visit(const Subscript& node, int);
  Value visit(const Slice& node, int);
  Value visit(const Call& node, int);
  Value visit(const Filter& node, int) { return filter(node, evaluate(*node.input)); }
  Value visit(const Test& node, int);

  // Statements
  Flow execute(const Block& block);
  Flow visit(const Text& node, int);
  Flow visit(const Print& node, int);
  Flow visit(const If& node, int);
  Flow visit(const For& node, int);
  Flow visit(const Set& node, int);
  Flow visit(const SetBlock& node, int);
  Flow visit(const Macro& node, int);
  Flow visit(const CallBlock& node, int);
  Flow visit(const FilterBlock& node, int);
  Flow visit(const With& node, int);
  Flow visit(const Break&, int) { return Flow::leave_loop; }
  Flow visit(const Continue&, int) { return Flow::next_item; }

 private:
  class InnerScope;
  template <typename Node>
  auto guarded(const Node& node);
  Arguments arguments(const CallArguments& from);
  Value filter(const Filter& node, Value input);
  Value filter_chain(const Expr& expr, Value input);
  Value capture(const Block& body);
  void assign(const Target& target, Value value);
  Value make_macro(const MacroBody& macro);
  Value call_macro(const MacroBody& macro, const std::shared_ptr<Scope>& around, const Arguments& given);
  void bind_implicit(const MacroBody& macro, const Arguments& given, size_t used_positional);

  const Value& context_;
  Runtime runtime_;
  std::shared_ptr<Scope> scope_;
  std::vector<std::shared_ptr<Scope>> kept_;  // those that macros were defined in
  std::string out_;
  int depth_ = 0;
  int64_t loops_ = 0;
};

class Interpreter::InnerScope {
 public:
  InnerScope(Interpreter& interpreter, const std::shared_ptr<Scope>& around)
      : interpreter_(interpreter), outside_(interpreter.scope_) {
    interpreter_.scope_ = std::make_shared<Scope>(Scope{around, {}});
  }
  ~InnerScope() { interpreter_.scope_ = outside_; }
  InnerScope(const InnerScope&) = delete;
  InnerScope& operator=(const InnerScope&) = delete;

 private:
  Interpreter& interpreter_;
  std::shared_ptr<Scope> outside_;
};

template <typename Node>
auto Interpreter::guarded(const Node& node) {
  try {
    if (depth_ >= kMaxDepth) fail(Fault::input, "calls or expressions are nested too deep");
    ++depth_;
    runtime_.budget().spend_steps(1);
    auto result = std::visit([&](const auto& n) { return visit(n, node.line); }, node.node);
    --depth_;
    return result;
  } catch (const LocatedError&) {
    throw;
  } catch (const Error& error) {
    try {
      fail_at(node.line, error.what());
    } catch (const Error& located) {
      throw LocatedError(located.fault(), located.what());
    }
  }
}

}  // namespace flashmoe::jinja
