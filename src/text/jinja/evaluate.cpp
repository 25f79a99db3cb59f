// Expressions.
#include <optional>

#include "text/jinja/execution.h"
#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/methods.h"
#include "text/jinja/tests.h"

namespace flashmoe::jinja {

Value Interpreter::evaluate(const Expr& expr) { return guarded(expr); }

Value Interpreter::visit(const Name& node, int) {
  for (Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    if (const Value* found = scope->find(node.name)) return *found;
  }
  if (const Value* found = context_.dict().find(std::string_view(node.name))) return *found;
  return global(node.name);
}

Value Interpreter::visit(const SequenceLiteral& node, int) {
  Values items;
  runtime_.budget().spend_bytes(node.items.size() * sizeof(Value));
  for (const ExprPtr& item : node.items) items.push_back(evaluate(*item));
  return node.is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Interpreter::visit(const DictLiteral& node, int) {
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key_expr, value_expr] : node.entries) {
    Value key = evaluate(*key_expr);
    entries.emplace_back(std::move(key), evaluate(*value_expr));
  }
  return make_dict(std::move(entries), runtime_.budget());
}

Value Interpreter::visit(const Unary& node, int) {
  const Value operand = evaluate(*node.operand);
  if (node.op == UnaryOp::not_) return !operand.truthy();
  return node.op == UnaryOp::minus ? negate(operand) : negate(negate(operand));
}

Value Interpreter::visit(const Binary& node, int) {
  Value left = evaluate(*node.left);
  if (node.op == BinaryOp::and_) return left.truthy() ? evaluate(*node.right) : left;
  if (node.op == BinaryOp::or_) return left.truthy() ? left : evaluate(*node.right);
  return arithmetic(node.op, left, evaluate(*node.right), runtime_);
}

Value Interpreter::visit(const Concat& node, int) {
  std::string text;
  for (const ExprPtr& part : node.parts) text += runtime_.str(evaluate(*part));
  return Value(std::move(text));
}

Value Interpreter::visit(const Compare& node, int) {
  Value left = evaluate(*node.first);
  for (const auto& [op, expr] : node.rest) {
    Value right = evaluate(*expr);
    if (!compare(op, left, right, runtime_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::visit(const Conditional& node, int line) {
  if (evaluate(*node.condition).truthy()) return evaluate(*node.then);
  if (node.otherwise) return evaluate(*node.otherwise);
  return Value::undefined(fmt::format("the inline if of line {} was false and has no else", line));
}

Value Interpreter::visit(const Subscript& node, int) {
  const Value object = evaluate(*node.object);
  return item(object, evaluate(*node.index), runtime_);
}

Value Interpreter::visit(const Slice& node, int) {
  const Value object = evaluate(*node.object);
  std::optional<Value> bounds[3];
  const ExprPtr* parts[] = {&node.start, &node.stop, &node.step};
  for (size_t i = 0; i < 3; ++i) {
    if (*parts[i]) bounds[i] = evaluate(**parts[i]);
  }
  const auto given = [&](size_t i) { return bounds[i] ? &*bounds[i] : nullptr; };
  return slice(object, given(0), given(1), given(2), runtime_);
}

Arguments Interpreter::arguments(const CallArguments& from) {
  Arguments out;
  for (const ExprPtr& e : from.positional) out.positional.push_back(evaluate(*e));
  for (const auto& [name, e] : from.named) out.named.emplace_back(name, evaluate(*e));
  if (from.rest) {
    for (Value& v : iterate(evaluate(*from.rest), runtime_.budget())) out.positional.push_back(std::move(v));
  }
  if (from.named_rest) {
    const Value rest = evaluate(*from.named_rest);
    if (!rest.is(Value::Kind::dict)) fail(Fault::input, "** takes a mapping, not '{}'", rest.type_name());
    for (const auto& [key, value] : rest.dict().entries) {
      if (!key.is_string()) fail(Fault::input, "** takes a mapping with strings as keys");
      out.named.emplace_back(key.string(), value);
    }
  }
  return out;
}

Value Interpreter::visit(const Call& node, int) {
  const Value callee = evaluate(*node.callee);
  return call(callee, arguments(node.arguments), runtime_);
}

Value Interpreter::filter(const Filter& node, Value input) {
  return apply_filter(node.name, input, arguments(node.arguments), runtime_);
}

// Filters of a block: the innermost has no input of its own.
Value Interpreter::filter_chain(const Expr& expr, Value input) {
  const auto& node = std::get<Filter>(expr.node);
  return filter(node, node.input ? filter_chain(*node.input, std::move(input)) : std::move(input));
}

Value Interpreter::visit(const Test& node, int) {
  const Value input = evaluate(*node.input);
  return apply_test(node.name, input, arguments(node.arguments), runtime_);
}

}  // namespace flashmoe::jinja
