#include "text/jinja/runtime.h"

#include <algorithm>

namespace flashmoe::jinja {

std::vector<const Value*> bind(std::string_view callee, const Arguments& arguments,
                               std::initializer_list<std::string_view> names, size_t required) {
  if (arguments.positional.size() > names.size()) {
    fail(Fault::input, "{}() takes at most {} arguments, not {}", callee, names.size(), arguments.positional.size());
  }
  std::vector<const Value*> bound(names.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) fail(Fault::input, "{}() has no argument '{}'", callee, name);
    const Value*& slot = bound[static_cast<size_t>(at - names.begin())];
    if (slot != nullptr) fail(Fault::input, "{}() got the argument '{}' twice", callee, name);
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound[i] == nullptr) fail(Fault::input, "{}() needs the argument '{}'", callee, names.begin()[i]);
  }
  return bound;
}

int64_t integer_argument(std::string_view callee, const Value& value) {
  value.defined();
  if (!value.is_integral()) fail(Fault::input, "{} takes an integer, not '{}'", callee, value.type_name());
  return value.integral();
}

void check_hashable(const Value& key) {
  const bool tuple = key.is(Value::Kind::sequence) && key.sequence().kind == Sequence::Kind::tuple;
  if (key.is(Value::Kind::dict) || (key.is(Value::Kind::sequence) && !tuple)) {
    fail(Fault::input, "unhashable type: '{}'", key.type_name());
  }
  if (tuple) {
    for (const Value& v : key.sequence().items) check_hashable(v);
  }
}

Value make_dict(std::vector<std::pair<Value, Value>> entries, Budget& budget) {
  Dict unique;
  for (auto& [key, value] : entries) {
    check_hashable(key);
    budget.spend_bytes(2 * sizeof(Value) + unique.entries.size() * 4);
    if (const Value* found = unique.find(key)) {
      unique
          .entries[static_cast<size_t>(std::find_if(unique.entries.begin(), unique.entries.end(),
                                                    [&](const auto& e) { return &e.second == found; }) -
                                       unique.entries.begin())]
          .second = std::move(value);
    } else {
      unique.entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return Value::dict(std::move(unique.entries));
}

const std::string& text_argument(std::string_view callee, const Value& value) {
  value.defined();
  if (!value.is_string()) fail(Fault::input, "{}() takes a string, not '{}'", callee, value.type_name());
  return value.string();
}

Value make_function(std::string name, std::function<Value(Runtime&, const Arguments&)> body) {
  return Value(std::make_shared<const Function>(Function{std::move(name), std::move(body)}));
}

}  // namespace flashmoe::jinja
