// Statements and macros.
#include "text/jinja/interpreter.h"

#include <algorithm>
#include <optional>

#include "text/jinja/execution.h"
#include "text/jinja/methods.h"

namespace flashmoe::jinja {

Flow Interpreter::execute(const Block& block) {
  for (const auto& statement : block) {
    if (const Flow flow = guarded(*statement); flow != Flow::next) return flow;
  }
  return Flow::next;
}

Flow Interpreter::visit(const Text& node, int) {
  runtime_.budget().spend_bytes(node.text.size());
  out_ += node.text;
  return Flow::next;
}

Flow Interpreter::visit(const Print& node, int) {
  out_ += runtime_.str(evaluate(*node.value));
  return Flow::next;
}

Flow Interpreter::visit(const If& node, int) {
  for (const auto& [condition, body] : node.branches) {
    if (evaluate(*condition).truthy()) return execute(body);
  }
  return execute(node.otherwise);
}

Flow Interpreter::visit(const For& node, int) {
  const Value source = evaluate(*node.items);
  const Values items = iterate(source, runtime_.budget());
  auto loop = std::make_shared<Loop>();
  loop->depth0 = 0;
  if (!node.condition) loop->length = items.size();
  size_t next = 0;
  loop->pull = [&]() -> std::optional<Value> {
    while (next < items.size()) {
      const Value& item = items[next++];
      if (!node.condition) return item;
      const InnerScope inner(*this, scope_);
      assign(node.target, item);
      if (evaluate(*node.condition).truthy()) return item;
    }
    return {};
  };
  Flow flow = Flow::next;
  try {
    while (flow != Flow::leave_loop && loop->advance()) {
      const InnerScope inner(*this, scope_);
      scope_->set("loop", Value(loop));
      assign(node.target, *loop->current);
      flow = execute(node.body);
    }
  } catch (...) {
    loop->pull = nullptr;
    throw;
  }
  loop->pull = nullptr;
  if (loop->index0 >= 0) return Flow::next;
  const InnerScope inner(*this, scope_);
  return execute(node.otherwise);
}

void Interpreter::assign(const Target& target, Value value) {
  if (target.is_tuple) {
    Values items = iterate(value, runtime_.budget());
    if (items.size() != target.items.size()) {
      fail(Fault::input, "{} values cannot be assigned to {} names", items.size(), target.items.size());
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.items[i], std::move(items[i]));
  } else if (target.attribute.empty()) {
    scope_->set(target.name, std::move(value));
  } else {
    const Value space = visit(Name{target.name}, 0);
    if (!space.is(Value::Kind::name_space))
      fail(Fault::input, "'{}' is no namespace; its attributes cannot be set", target.name);
    if (Value* found = find_attribute(space.name_space(), target.attribute)) {
      *found = std::move(value);
    } else {
      space.name_space().attributes.emplace_back(target.attribute, std::move(value));
    }
  }
}

Flow Interpreter::visit(const Set& node, int) {
  assign(node.target, evaluate(*node.value));
  return Flow::next;
}

// What `body` writes, as a value.
Value Interpreter::capture(const Block& body) {
  std::string outside = std::exchange(out_, {});
  execute(body);
  return Value(std::exchange(out_, std::move(outside)));
}

Flow Interpreter::visit(const SetBlock& node, int) {
  Value text;
  {
    const InnerScope inner(*this, scope_);
    text = capture(node.body);
    if (node.filter) text = filter_chain(*node.filter, std::move(text));
  }
  assign(node.target, std::move(text));
  return Flow::next;
}

Flow Interpreter::visit(const FilterBlock& node, int) {
  const InnerScope inner(*this, scope_);
  out_ += runtime_.str(filter_chain(*node.filter, capture(node.body)));
  return Flow::next;
}

Flow Interpreter::visit(const With& node, int) {
  const std::shared_ptr<Scope> outside = scope_;
  Values values;
  for (const auto& [target, expr] : node.values) values.push_back(evaluate(*expr));
  const InnerScope inner(*this, outside);
  for (size_t i = 0; i < values.size(); ++i) assign(node.values[i].first, std::move(values[i]));
  return execute(node.body);
}

Value Interpreter::make_macro(const MacroBody& macro) {
  // The scope owns the macro that reads it: a reference the other way around must not own.
  runtime_.budget().spend_bytes(sizeof(Scope));
  if (kept_.empty() || kept_.back() != scope_) kept_.push_back(scope_);
  const std::weak_ptr<Scope> around = scope_;
  return Value(
      std::make_shared<const Function>(Function{macro.name, [this, &macro, around](Runtime&, const Arguments& given) {
                                                  return call_macro(macro, around.lock(), given);
                                                }}));
}

Flow Interpreter::visit(const Macro& node, int) {
  scope_->set(node.macro.name, make_macro(node.macro));
  return Flow::next;
}

Flow Interpreter::visit(const CallBlock& node, int) {
  const auto& call_node = std::get<Call>(node.call->node);
  const Value callee = evaluate(*call_node.callee);
  Arguments given = arguments(call_node.arguments);
  given.named.emplace_back("caller", make_macro(node.caller));
  out_ += runtime_.str(call(callee, given, runtime_));
  return Flow::next;
}

// caller, varargs and kwargs exist for a macro that reads them; what no parameter takes is an error otherwise.
void Interpreter::bind_implicit(const MacroBody& macro, const Arguments& given, size_t used_positional) {
  std::vector<std::pair<Value, Value>> extra;
  Value caller = Value::undefined("No caller defined");
  const auto is_parameter = [&](const std::string& name) {
    return std::any_of(macro.parameters.begin(), macro.parameters.end(),
                       [&](const Parameter& p) { return p.name == name; });
  };
  for (const auto& [name, value] : given.named) {
    if (is_parameter(name)) continue;
    if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      extra.emplace_back(Value(name), value);
    } else {
      fail(Fault::input, "macro '{}' takes no keyword argument '{}'", macro.name, name);
    }
  }
  if (used_positional < given.positional.size() && !macro.uses_varargs) {
    fail(Fault::input, "macro '{}' takes not more than {} argument(s)", macro.name, macro.parameters.size());
  }
  if (macro.uses_caller && !is_parameter("caller")) scope_->set("caller", std::move(caller));
  if (macro.uses_kwargs && !is_parameter("kwargs"))
    scope_->set("kwargs", make_dict(std::move(extra), runtime_.budget()));
  if (macro.uses_varargs && !is_parameter("varargs")) {
    const auto begin = given.positional.begin() + static_cast<std::ptrdiff_t>(used_positional);
    scope_->set("varargs", Value::tuple(Values(begin, given.positional.end())));
  }
}

Value Interpreter::call_macro(const MacroBody& macro, const std::shared_ptr<Scope>& around, const Arguments& given) {
  const InnerScope inner(*this, around);
  const size_t n = macro.parameters.size();
  const size_t used = std::min(n, given.positional.size());
  bind_implicit(macro, given, used);
  for (size_t i = 0; i < n; ++i) {
    const Parameter& parameter = macro.parameters[i];
    const auto named = std::find_if(given.named.begin(), given.named.end(),
                                    [&](const auto& argument) { return argument.first == parameter.name; });
    const bool is_named = named != given.named.end();
    if (i < used && is_named) fail(Fault::input, "macro '{}' got the argument '{}' twice", macro.name, parameter.name);
    if (i < used) {
      scope_->set(parameter.name, given.positional[i]);
    } else if (is_named) {
      scope_->set(parameter.name, named->second);
    } else if (parameter.default_value) {
      scope_->set(parameter.name, evaluate(*parameter.default_value));
    } else {
      scope_->set(parameter.name, Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
  return capture(macro.body);
}

std::string render(const Block& block, const Value& context, const Limits& limits) {
  try {
    return Interpreter(context, limits).run(block);
  } catch (const LocatedError& error) {
    throw Error(error.fault(), error.what());  // LocatedError stays in this file
  }
}

}  // namespace flashmoe::jinja
