// What template expressions evaluate to: Python's values as far as a template can see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/budget.h"

namespace flashmoe::jinja {

class Runtime;
class Value;
struct Sequence;
struct Dict;
struct Generator;
struct Namespace;
struct Function;
struct Loop;

using Values = std::vector<Value>;

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Immutable and cheap to copy; namespaces, generators and loops are shared and mutable.
class Value {
 public:
  enum class Kind : uint8_t {
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    sequence,
    dict,
    generator,
    name_space,
    function,
    loop
  };
  struct Undefined {
    std::shared_ptr<const std::string> reason;  // what using it reports
  };
  struct None {};

  Value() : data_(Undefined{}) {}
  Value(bool v) : data_(v) {}     // NOLINT(google-explicit-constructor)
  Value(int64_t v) : data_(v) {}  // NOLINT(google-explicit-constructor)
  Value(double v) : data_(v) {}   // NOLINT(google-explicit-constructor)
  Value(std::string v) : data_(std::make_shared<const std::string>(std::move(v))) {}  // NOLINT
  explicit Value(std::shared_ptr<const Sequence> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<const Dict> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<Generator> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<Namespace> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<const Function> v) : data_(std::move(v)) {}
  explicit Value(std::shared_ptr<Loop> v) : data_(std::move(v)) {}
  template <typename T>
  Value(const T*) = delete;  // a literal would become a bool
  static Value none() { return Value(Data(None{})); }
  static Value undefined(std::string reason);
  static Value text(std::string_view v) { return Value(std::string(v)); }
  static Value list(Values items);
  static Value tuple(Values items);
  static Value generator(Values items);
  static Value dict(std::vector<std::pair<Value, Value>> entries);  // keys are unique already

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  bool is_undefined() const { return is(Kind::undefined); }
  bool is_none() const { return is(Kind::none); }
  bool is_string() const { return is(Kind::string); }
  bool is_integral() const { return is(Kind::integer) || is(Kind::boolean); }  // Python's int, of which bool is a part
  bool is_number() const { return is_integral() || is(Kind::real); }

  bool boolean() const { return std::get<bool>(data_); }
  int64_t integral() const { return is(Kind::boolean) ? int64_t{boolean()} : std::get<int64_t>(data_); }
  double number() const { return is(Kind::real) ? std::get<double>(data_) : static_cast<double>(integral()); }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Generator& generator() const { return *std::get<std::shared_ptr<Generator>>(data_); }
  Namespace& name_space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }

  bool truthy() const;
  int depth() const;              // 0 for anything but sequences, dicts and generators
  std::string type_name() const;  // Python's
  std::string reason() const;     // of an undefined value
  // Throws when undefined: every operation but printing, iterating and testing does.
  const Value& defined() const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                            std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Generator>,
                            std::shared_ptr<Namespace>, std::shared_ptr<const Function>, std::shared_ptr<Loop>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct Sequence {
  enum class Kind : uint8_t { list, tuple, range, keys, values, items };
  Kind kind = Kind::list;
  Values items;
  int depth = 1;
  std::string label = {};  // how a range prints

  bool is_view() const { return kind >= Kind::keys; }  // of a dict: has a length but no elements by index
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;  // null for a key of a kind that has no hash, too
};

// Result of map, select and their kind: gone once iterated over. `next` is the first item not yet taken.
struct Generator {
  Values items;
  size_t next = 0;
  int depth = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct Function {
  std::string name;
  std::function<Value(Runtime&, const Arguments&)> call;
};

// The variable `loop`. `pull` yields the items that pass the loop's filter, empty at the end and once the loop is over.
struct Loop {
  std::function<std::optional<Value>()> pull;
  std::optional<size_t> length;
  int64_t index0 = -1;
  int64_t depth0 = 0;
  Values ahead;  // pulled but not yet current, last one first
  std::optional<Value> before, current;
  std::optional<Arguments> last_changed;

  bool advance();
  std::optional<Value> peek();
  size_t count();
};

bool equals(const Value& a, const Value& b, Budget& budget);
// <0, 0, >0 as Python orders them; throws for kinds it does not order. Not a number: see less().
bool less(const Value& a, const Value& b, Budget& budget);

std::string to_string(const Value& value, Budget& budget);  // Python's str()
std::string repr(const Value& value, Budget& budget);       // Python's repr()
std::string repr_real(double value);
std::string repr_string(std::string_view text);

// Items of anything that can be iterated over (a generator is emptied); throws otherwise.
Values iterate(const Value& value, Budget& budget);

Value* find_attribute(Namespace& space, std::string_view name);

}  // namespace flashmoe::jinja
