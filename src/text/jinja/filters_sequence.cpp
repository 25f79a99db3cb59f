// Filters on lists, mappings and generators.
#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/tests.h"

namespace flashmoe::jinja {

namespace {

Value length_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("length", arguments, {});
  runtime.budget().spend_steps(value.is_string() ? value.string().size() / 64 : 0);
  switch (value.kind()) {
    case Value::Kind::undefined:
      return int64_t{0};
    case Value::Kind::string:
      return static_cast<int64_t>(length(value.string()));
    case Value::Kind::sequence:
      return static_cast<int64_t>(value.sequence().items.size());
    case Value::Kind::dict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Value::Kind::loop:
      return static_cast<int64_t>(value.loop().count());
    default:
      fail(Fault::input, "object of type '{}' has no length", value.type_name());
  }
}

Value default_filter(Runtime&, const Value& value, const Arguments& arguments) {
  const auto a = bind("default", arguments, {"default_value", "boolean"});
  const bool replaced = value.is_undefined() || (a[1] != nullptr && a[1]->truthy() && !value.truthy());
  if (!replaced) return value;
  return a[0] != nullptr ? *a[0] : Value(std::string());
}

Value list_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("list", arguments, {});
  return Value::list(iterate(value, runtime.budget()));
}

Value items_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("items", arguments, {});
  if (value.is_undefined()) return Value::generator({});
  if (!value.is(Value::Kind::dict)) fail(Fault::input, "items takes a mapping, not '{}'", value.type_name());
  runtime.budget().spend_bytes(value.dict().entries.size() * 4 * sizeof(Value));
  Values items;
  for (const auto& [key, item] : value.dict().entries) items.push_back(Value::tuple({key, item}));
  return Value::generator(std::move(items));
}

// `attribute` may be a path, "function.name" or "0.name".
Value follow(const Value& from, const Value& path, Runtime& runtime, const Value* otherwise) {
  if (path.is_none()) return from;
  if (!path.is_string()) {
    Value found = item(from, path, runtime);
    return found.is_undefined() && otherwise != nullptr ? *otherwise : found;
  }
  Value at = from;
  for (std::string_view part : split(path.string(), ".", -1)) {
    const bool number =
        !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == std::string_view::npos;
    at = item(at, number ? Value(int64_t{std::stoll(std::string(part))}) : Value::text(part), runtime);
    if (at.is_undefined() && otherwise != nullptr) at = *otherwise;
  }
  return at;
}

Value sort_key(const Value& value, const Value* attribute, bool case_sensitive, Runtime& runtime) {
  Value key = attribute != nullptr ? follow(value, *attribute, runtime, nullptr) : value;
  return key.is_string() && !case_sensitive ? runtime.text(lower(key.string())) : key;
}

bool flag(const Value* value) { return value != nullptr && value->truthy(); }

Value join(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("join", arguments, {"d", "attribute"});
  const std::string separator = a[0] != nullptr ? runtime.str(*a[0]) : std::string();
  std::string out;
  bool first = true;
  for (const Value& v : iterate(value, runtime.budget())) {
    if (!first) out += separator;
    first = false;
    out += runtime.str(a[1] != nullptr ? follow(v, *a[1], runtime, nullptr) : v);
    runtime.budget().spend_bytes(separator.size());
  }
  return Value(std::move(out));
}

Value first(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("first", arguments, {});
  if (value.is(Value::Kind::generator)) {
    Generator& generator = value.generator();
    if (generator.next < generator.items.size()) return generator.items[generator.next++];
    return Value::undefined("No first item, sequence was empty.");
  }
  const Values items = iterate(value, runtime.budget());
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

void check_reversible(const Value& value) {
  if (value.is(Value::Kind::generator)) fail(Fault::input, "a generator cannot be reversed; add |list");
}

Value last(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("last", arguments, {});
  check_reversible(value);
  const Values items = iterate(value, runtime.budget());
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("reverse", arguments, {});
  Values items = iterate(value, runtime.budget());
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Value::generator(std::move(items));
  std::string out;
  for (const Value& c : items) out += c.string();
  return runtime.text(std::move(out));
}

Value map(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!value.truthy()) return Value::generator({});
  Values out;
  const Values items = iterate(value, runtime.budget());
  if (arguments.positional.empty()) {
    const auto a = bind("map", arguments, {"attribute", "default"}, 1);
    const Value* otherwise = a[1] != nullptr && !a[1]->is_none() ? a[1] : nullptr;
    for (const Value& v : items) out.push_back(follow(v, *a[0], runtime, otherwise));
    return Value::generator(std::move(out));
  }
  const std::string filter = runtime.str(arguments.positional[0]);
  const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (const Value& v : items) out.push_back(apply_filter(filter, v, rest, runtime));
  return Value::generator(std::move(out));
}

template <bool keeps, bool by_attribute>
Value select(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!value.truthy()) return Value::generator({});
  constexpr std::ptrdiff_t at = by_attribute ? 1 : 0;
  const auto n = static_cast<std::ptrdiff_t>(arguments.positional.size());
  if (n < at) fail(Fault::input, "Missing parameter for attribute name");
  Arguments rest;
  rest.named = arguments.named;
  if (n > at) rest.positional.assign(arguments.positional.begin() + at + 1, arguments.positional.end());
  const std::string test = n > at ? runtime.str(arguments.positional[static_cast<size_t>(at)]) : std::string();
  Values out;
  for (const Value& v : iterate(value, runtime.budget())) {
    const Value tested = by_attribute ? follow(v, arguments.positional[0], runtime, nullptr) : v;
    const bool passes = n > at ? apply_test(test, tested, rest, runtime) : tested.truthy();
    if (passes == keeps) out.push_back(v);
  }
  return Value::generator(std::move(out));
}

Values sorted(Values items, bool reversed, Runtime& runtime, const std::function<Value(const Value&)>& key_of) {
  std::vector<std::pair<Value, Value>> keyed;
  runtime.budget().spend_bytes(items.size() * 2 * sizeof(Value));
  for (Value& v : items) {
    Value key = key_of(v);
    keyed.emplace_back(std::move(key), std::move(v));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reversed ? less(b.first, a.first, runtime.budget()) : less(a.first, b.first, runtime.budget());
  });
  Values out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return out;
}

Value sort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool exact = flag(a[1]);
  const auto key_of = [&](const Value& v) {
    if (a[2] == nullptr || !a[2]->is_string()) return Value::list({sort_key(v, a[2], exact, runtime)});
    Values keys;  // "a,b": by a, then by b
    for (std::string_view path : split(a[2]->string(), ",", -1)) {
      const Value attribute = Value::text(path);
      keys.push_back(sort_key(v, &attribute, exact, runtime));
    }
    return Value::list(std::move(keys));
  };
  return Value::list(sorted(iterate(value, runtime.budget()), flag(a[0]), runtime, key_of));
}

Value dictsort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = a[1] != nullptr ? runtime.str(*a[1]) : "key";
  if (by != "key" && by != "value") fail(Fault::input, "dictsort sorts by \"key\" or \"value\"");
  value.defined();
  if (!value.is(Value::Kind::dict)) fail(Fault::input, "dictsort takes a mapping, not '{}'", value.type_name());
  Values items;
  for (const auto& [key, entry] : value.dict().entries) items.push_back(Value::tuple({key, entry}));
  const auto key_of = [&](const Value& v) {
    return sort_key(v.sequence().items[by == "key" ? 0 : 1], nullptr, flag(a[0]), runtime);
  };
  return Value::list(sorted(std::move(items), flag(a[2]), runtime, key_of));
}

Value unique(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("unique", arguments, {"case_sensitive", "attribute"});
  Values seen, out;
  for (Value& v : iterate(value, runtime.budget())) {
    Value key = sort_key(v, a[1], flag(a[0]), runtime);
    check_hashable(key);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equals(s, key, runtime.budget()); }))
      continue;
    seen.push_back(std::move(key));
    out.push_back(std::move(v));
  }
  return Value::generator(std::move(out));
}

Value sum(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("sum", arguments, {"attribute", "start"});
  Value total = a[1] != nullptr ? *a[1] : Value(int64_t{0});
  if (total.is_string()) fail(Fault::input, "sum does not add strings; use join");
  for (const Value& v : iterate(value, runtime.budget())) {
    const Value term = a[0] != nullptr ? follow(v, *a[0], runtime, nullptr) : v;
    total = arithmetic(BinaryOp::add, total, term, runtime);
  }
  return total;
}

template <bool largest>
Value extreme(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  std::optional<Value> best, best_key;
  for (Value& v : iterate(value, runtime.budget())) {
    Value key = sort_key(v, a[1], flag(a[0]), runtime);
    const bool better =
        !best || (largest ? less(*best_key, key, runtime.budget()) : less(key, *best_key, runtime.budget()));
    if (!better) continue;
    best = std::move(v);
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Value attribute_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value& name = *bind("attr", arguments, {"name"}, 1)[0];
  auto found = find_method(value.defined(), runtime.str(name));
  return found
             ? *found
             : Value::undefined(fmt::format("'{} object' has no attribute '{}'", value.type_name(), runtime.str(name)));
}

}  // namespace

const FilterTable& sequence_filters() {
  static const FilterTable kTable = {{"length", length_filter},
                                     {"count", length_filter},
                                     {"default", default_filter},
                                     {"d", default_filter},
                                     {"list", list_filter},
                                     {"items", items_filter},
                                     {"join", join},
                                     {"first", first},
                                     {"last", last},
                                     {"reverse", reverse},
                                     {"map", map},
                                     {"select", select<true, false>},
                                     {"reject", select<false, false>},
                                     {"selectattr", select<true, true>},
                                     {"rejectattr", select<false, true>},
                                     {"sort", sort},
                                     {"dictsort", dictsort},
                                     {"unique", unique},
                                     {"sum", sum},
                                     {"min", extreme<false>},
                                     {"max", extreme<true>},
                                     {"attr", attribute_filter}};
  return kTable;
}

}  // namespace flashmoe::jinja
