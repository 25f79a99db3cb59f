// What builtins may use of the render they run in.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace flashmoe::jinja {

class Runtime {
 public:
  explicit Runtime(Budget budget) : budget_(budget) {}
  // Namespaces are the one thing that can refer to itself.
  ~Runtime() {
    for (const auto& space : spaces_) space->attributes.clear();
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Budget& budget() { return budget_; }
  Value text(std::string s) {
    budget_.spend_bytes(s.size());
    return Value(std::move(s));
  }
  std::string str(const Value& value) { return to_string(value, budget_); }
  Value name_space() {
    budget_.spend_bytes(sizeof(Namespace));
    return Value(spaces_.emplace_back(std::make_shared<Namespace>()));
  }

 private:
  Budget budget_;
  std::vector<std::shared_ptr<Namespace>> spaces_;
};

// The arguments of one call in the order of `names`; absent ones are null. Throws for too many, unknown or repeated
// ones and when one of the first `required` is absent. Borrows from the arguments.
std::vector<const Value*> bind(std::string_view callee, const Arguments& arguments,
                               std::initializer_list<std::string_view> names, size_t required = 0);

// Throws unless the value is an integer (or a boolean).
int64_t integer_argument(std::string_view callee, const Value& value);

const std::string& text_argument(std::string_view callee, const Value& value);

Value make_function(std::string name, std::function<Value(Runtime&, const Arguments&)> body);

void check_hashable(const Value& key);  // throws for what cannot be a mapping's key

// The entries as a mapping: a later key replaces an earlier one's value.
Value make_dict(std::vector<std::pair<Value, Value>> entries, Budget& budget);

}  // namespace flashmoe::jinja
