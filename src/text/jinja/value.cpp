#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

int depth_over(const Values& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) fail(Fault::input, "lists and mappings are nested more than {} deep", kMaxValueDepth);
  return depth + 1;
}

Value sequence_of(Sequence::Kind kind, Values items) {
  const int depth = depth_over(items);
  return Value(std::make_shared<const Sequence>(Sequence{kind, std::move(items), depth}));
}

bool same_key(const Value& a, const Value& b) {
  if (a.is_string() || b.is_string()) return a.is_string() && b.is_string() && a.string() == b.string();
  if (a.is_integral() && b.is_integral()) return a.integral() == b.integral();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.is(Value::Kind::sequence) && b.is(Value::Kind::sequence)) {
    const Sequence &x = a.sequence(), &y = b.sequence();
    return x.kind == Sequence::Kind::tuple && y.kind == Sequence::Kind::tuple &&
           std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), same_key);
  }
  return a.kind() == b.kind() && (a.is_none() || a.is_undefined());
}

}  // namespace

Value Value::undefined(std::string reason) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(reason))}));
}
Value Value::list(Values items) { return sequence_of(Sequence::Kind::list, std::move(items)); }
Value Value::tuple(Values items) { return sequence_of(Sequence::Kind::tuple, std::move(items)); }
Value Value::generator(Values items) {
  const int depth = depth_over(items);
  return Value(std::make_shared<Generator>(Generator{std::move(items), 0, depth}));
}
Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  int depth = 0;
  for (const auto& [key, value] : entries) depth = std::max({depth, key.depth(), value.depth()});
  if (depth >= kMaxValueDepth) fail(Fault::input, "lists and mappings are nested more than {} deep", kMaxValueDepth);
  return Value(std::make_shared<const Dict>(Dict{std::move(entries), depth + 1}));
}

bool Value::truthy() const {
  switch (kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
      return boolean();
    case Kind::integer:
      return integral() != 0;
    case Kind::real:
      return number() != 0;
    case Kind::string:
      return !string().empty();
    case Kind::sequence:
      return !sequence().items.empty();
    case Kind::dict:
      return !dict().entries.empty();
    case Kind::loop:
      return loop().count() != 0;
    case Kind::generator:
    case Kind::name_space:
    case Kind::function:
      return true;
  }
  return true;
}

int Value::depth() const {
  if (is(Kind::sequence)) return sequence().depth;
  if (is(Kind::dict)) return dict().depth;
  if (is(Kind::generator)) return generator().depth;
  return 0;
}

std::string Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "None", "bool",      "int",       "float",    "str",
                                           "list",      "dict", "generator", "Namespace", "function", "LoopContext"};
  static constexpr const char* kSequences[] = {"list", "tuple", "range", "dict_keys", "dict_values", "dict_items"};
  if (is(Kind::sequence)) return kSequences[static_cast<size_t>(sequence().kind)];
  return kNames[data_.index()];
}

std::string Value::reason() const {
  const auto& text = std::get<Undefined>(data_).reason;
  return text ? *text : "the value is undefined";
}

const Value& Value::defined() const {
  if (is_undefined()) fail(Fault::input, "{}", reason());
  return *this;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& entry : entries) {
    if (entry.first.is_string() && entry.first.string() == key) return &entry.second;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  for (const auto& entry : entries) {
    if (same_key(entry.first, key)) return &entry.second;
  }
  return nullptr;
}

bool Loop::advance() {
  std::optional<Value> next;
  if (!ahead.empty()) {
    next = std::move(ahead.back());
    ahead.pop_back();
  } else if (pull) {
    next = pull();
  }
  if (!next) return false;
  before = std::move(current);
  current = std::move(next);
  ++index0;
  return true;
}

std::optional<Value> Loop::peek() {
  if (ahead.empty() && pull) {
    if (auto next = pull()) ahead.push_back(std::move(*next));
  }
  return ahead.empty() ? std::nullopt : std::optional<Value>(ahead.back());
}

size_t Loop::count() {
  if (!length) {
    Values rest;
    while (pull) {
      auto next = pull();
      if (!next) break;
      rest.push_back(std::move(*next));
    }
    std::reverse(rest.begin(), rest.end());
    rest.insert(rest.end(), ahead.begin(), ahead.end());
    ahead = std::move(rest);
    length = ahead.size() + static_cast<size_t>(index0 + 1);
  }
  return *length;
}

bool equals(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps(1);
  if (a.is_integral() && b.is_integral()) return a.integral() == b.integral();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::string:
      budget.spend_steps(a.string().size() / 256);
      return a.string() == b.string();
    case Value::Kind::sequence: {
      const Sequence &x = a.sequence(), &y = b.sequence();
      if (x.kind != y.kind || x.items.size() != y.items.size()) return false;
      for (size_t i = 0; i < x.items.size(); ++i) {
        if (!equals(x.items[i], y.items[i], budget)) return false;
      }
      return true;
    }
    case Value::Kind::dict: {
      const Dict &x = a.dict(), &y = b.dict();
      if (x.entries.size() != y.entries.size()) return false;
      for (const auto& [key, value] : x.entries) {
        budget.spend_steps(y.entries.size() / 16);
        const Value* other = y.find(key);
        if (other == nullptr || !equals(value, *other, budget)) return false;
      }
      return true;
    }
    case Value::Kind::generator:
      return &a.generator() == &b.generator();
    case Value::Kind::name_space:
      return &a.name_space() == &b.name_space();
    case Value::Kind::function:
      return &a.function() == &b.function();
    case Value::Kind::loop:
      return &a.loop() == &b.loop();
    default:
      return true;  // undefined and none
  }
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps(1);
  if (a.is_integral() && b.is_integral()) return a.integral() < b.integral();
  if (a.is_number() && b.is_number()) return a.number() < b.number();
  if (a.is_string() && b.is_string()) {
    budget.spend_steps(a.string().size() / 256);
    return a.string() < b.string();
  }
  const bool sequences = a.is(Value::Kind::sequence) && b.is(Value::Kind::sequence);
  if (sequences && a.sequence().kind == b.sequence().kind && a.sequence().kind <= Sequence::Kind::tuple) {
    const Values &x = a.sequence().items, &y = b.sequence().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equals(x[i], y[i], budget)) return less(x[i], y[i], budget);
    }
    return x.size() < y.size();
  }
  a.defined(), b.defined();
  fail(Fault::input, "'{}' and '{}' have no order", a.type_name(), b.type_name());
}

std::string repr_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const std::string_view digits_of_exponent = text.substr(text[e + 1] == '+' ? e + 2 : e + 1);
  std::from_chars(digits_of_exponent.data(), digits_of_exponent.data() + digits_of_exponent.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", text.substr(0, e), exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

namespace {

void write_repr(const Value& value, std::string& out, Budget& budget, int depth);

void write_items(const Values& items, std::string& out, Budget& budget, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ", ";
    write_repr(items[i], out, budget, depth);
  }
}

void write_sequence(const Sequence& sequence, std::string& out, Budget& budget, int depth) {
  switch (sequence.kind) {
    case Sequence::Kind::range:
      out += sequence.label;
      return;
    case Sequence::Kind::tuple:
      out += '(';
      write_items(sequence.items, out, budget, depth);
      out += sequence.items.size() == 1 ? ",)" : ")";
      return;
    case Sequence::Kind::list:
      out += '[';
      break;
    case Sequence::Kind::keys:
      out += "dict_keys([";
      break;
    case Sequence::Kind::values:
      out += "dict_values([";
      break;
    case Sequence::Kind::items:
      out += "dict_items([";
      break;
  }
  write_items(sequence.items, out, budget, depth);
  out += sequence.kind == Sequence::Kind::list ? "]" : "])";
}

void write_repr(const Value& value, std::string& out, Budget& budget, int depth) {
  if (depth > 2 * kMaxValueDepth) fail(Fault::input, "a namespace is nested too deep to print");
  const size_t before = out.size();
  budget.spend_steps(1);
  switch (value.kind()) {
    case Value::Kind::undefined:
      out += "Undefined";
      break;
    case Value::Kind::none:
      out += "None";
      break;
    case Value::Kind::boolean:
      out += value.boolean() ? "True" : "False";
      break;
    case Value::Kind::integer:
      out += std::to_string(value.integral());
      break;
    case Value::Kind::real:
      out += repr_real(value.number());
      break;
    case Value::Kind::string:
      out += repr_string(value.string());
      break;
    case Value::Kind::sequence:
      write_sequence(value.sequence(), out, budget, depth + 1);
      return;
    case Value::Kind::dict:
    case Value::Kind::name_space: {
      const bool space = value.is(Value::Kind::name_space);
      out += space ? "<Namespace {" : "{";
      bool first = true;
      const auto write = [&](const Value& key, const Value& item) {
        if (!first) out += ", ";
        first = false;
        write_repr(key, out, budget, depth + 1);
        out += ": ";
        write_repr(item, out, budget, depth + 1);
      };
      if (space) {
        for (const auto& [key, item] : value.name_space().attributes) write(Value(key), item);
      } else {
        for (const auto& [key, item] : value.dict().entries) write(key, item);
      }
      out += space ? "}>" : "}";
      return;
    }
    case Value::Kind::loop:
      out += fmt::format("<LoopContext {}/{}>", value.loop().index0 + 1, value.loop().count());
      break;
    case Value::Kind::generator:
      fail(Fault::input, "a generator has no text; add |list");
    case Value::Kind::function:
      out += fmt::format("<Macro '{}'>", value.function().name);
      break;
  }
  budget.spend_bytes(out.size() - before);
}

}  // namespace

std::string to_string(const Value& value, Budget& budget) {
  if (value.is_string()) {
    budget.spend_bytes(value.string().size());
    return value.string();
  }
  return value.is_undefined() ? std::string() : repr(value, budget);
}

std::string repr(const Value& value, Budget& budget) {
  std::string out;
  write_repr(value, out, budget, 0);
  return out;
}

Values iterate(const Value& value, Budget& budget) {
  const auto spend = [&](size_t n) { budget.spend_bytes(n * sizeof(Value)); };
  switch (value.kind()) {
    case Value::Kind::undefined:
      return {};
    case Value::Kind::sequence:
      spend(value.sequence().items.size());
      return value.sequence().items;
    case Value::Kind::generator: {
      Generator& generator = value.generator();
      spend(generator.items.size() - generator.next);
      Values rest(generator.items.begin() + static_cast<std::ptrdiff_t>(generator.next), generator.items.end());
      generator.next = generator.items.size();
      return rest;
    }
    case Value::Kind::dict: {
      spend(value.dict().entries.size());
      Values keys;
      for (const auto& entry : value.dict().entries) keys.push_back(entry.first);
      return keys;
    }
    case Value::Kind::string: {
      spend(value.string().size());
      Values characters;
      for (std::string_view c : code_points(value.string())) characters.push_back(Value::text(c));
      return characters;
    }
    default:
      fail(Fault::input, "'{}' object is not iterable", value.type_name());
  }
}

Value* find_attribute(Namespace& space, std::string_view name) {
  for (auto& [key, value] : space.attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace flashmoe::jinja
