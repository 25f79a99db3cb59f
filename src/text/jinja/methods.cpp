#include "text/jinja/methods.h"

#include <algorithm>
#include <map>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

using Method = Value (*)(Runtime&, const Value& self, const Arguments&);
using MethodTable = std::map<std::string_view, Method>;

template <typename Parts>
Value text_list(Runtime& runtime, const Parts& parts) {
  Values out;
  runtime.budget().spend_bytes(parts.size() * (sizeof(Value) + sizeof(std::string)));
  for (std::string_view part : parts) out.push_back(runtime.text(std::string(part)));
  return Value::list(std::move(out));
}

template <bool left, bool right>
Value strip_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto a = bind("strip", arguments, {"chars"});
  std::optional<std::string_view> characters;
  if (a[0] != nullptr && !a[0]->is_none()) characters = text_argument("strip", *a[0]);
  return runtime.text(std::string(strip(self.string(), characters, left, right)));
}

template <auto splits>
Value split_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto a = bind("split", arguments, {"sep", "maxsplit"});
  std::optional<std::string_view> separator;
  if (a[0] != nullptr && !a[0]->is_none()) separator = text_argument("split", *a[0]);
  if (separator && separator->empty()) fail(Fault::input, "split() got an empty separator");
  return text_list(runtime, splits(self.string(), separator, a[1] ? integer_argument("split()", *a[1]) : -1));
}

template <bool at_end>
Value affix_method(Runtime&, const Value& self, const Arguments& arguments) {
  const Value& wanted = *bind(at_end ? "endswith" : "startswith", arguments, {"affix"}, 1)[0];
  const auto matches = [&](const Value& v) {
    const std::string& affix = text_argument(at_end ? "endswith" : "startswith", v);
    return at_end ? self.string().ends_with(affix) : self.string().starts_with(affix);
  };
  if (wanted.is(Value::Kind::sequence) && wanted.sequence().kind == Sequence::Kind::tuple) {
    const Values& items = wanted.sequence().items;
    return std::any_of(items.begin(), items.end(), matches);
  }
  return matches(wanted);
}

template <bool at_end>
Value remove_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string& affix = text_argument("removeprefix", *bind("removeprefix", arguments, {"affix"}, 1)[0]);
  std::string_view text = self.string();
  if (at_end ? text.ends_with(affix) : text.starts_with(affix)) {
    (at_end ? text.remove_suffix(affix.size()) : text.remove_prefix(affix.size()));
  }
  return runtime.text(std::string(text));
}

template <std::string (*converts)(std::string_view)>
Value case_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a method of str", arguments, {});
  return runtime.text(converts(self.string()));
}

template <bool (*tests)(std::string_view)>
Value test_method(Runtime&, const Value& self, const Arguments& arguments) {
  bind("a method of str", arguments, {});
  return tests(self.string());
}

bool all_space(std::string_view text) { return !text.empty() && strip(text, {}, true, false).empty(); }
bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

template <bool from_end>
Value find_in_text(Runtime&, const Value& self, const Arguments& arguments) {
  const std::string& part = text_argument("find", *bind("find", arguments, {"sub"}, 1)[0]);
  const size_t at = from_end ? self.string().rfind(part) : self.string().find(part);
  if (at == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(length(std::string_view(self.string()).substr(0, at)));
}

Value replace_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto a = bind("replace", arguments, {"old", "new", "count"}, 2);
  const std::string &from = text_argument("replace", *a[0]), &to = text_argument("replace", *a[1]);
  runtime.budget().spend_bytes(self.string().size() + count(self.string(), from) * to.size());
  return Value(replace(self.string(), from, to, a[2] ? integer_argument("replace()", *a[2]) : -1));
}

Value join_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  std::string out;
  bool first = true;
  for (const Value& v : iterate(bind("join", arguments, {"iterable"}, 1)[0]->defined(), runtime.budget())) {
    const std::string& part = text_argument("join", v);
    runtime.budget().spend_bytes(part.size() + self.string().size());
    if (!first) out += self.string();
    first = false;
    out += part;
  }
  return Value(std::move(out));
}

Value lines_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto a = bind("splitlines", arguments, {"keepends"});
  return text_list(runtime, split_lines(self.string(), a[0] != nullptr && a[0]->truthy()));
}

Value count_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value& wanted = *bind("count", arguments, {"value"}, 1)[0];
  if (self.is_string()) return static_cast<int64_t>(count(self.string(), text_argument("count", wanted)));
  const Values& items = self.sequence().items;
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& v) { return equals(v, wanted, runtime.budget()); }));
}

Value index_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value& wanted = *bind("index", arguments, {"value"}, 1)[0];
  const Values& items = self.sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equals(items[i], wanted, runtime.budget())) return static_cast<int64_t>(i);
  }
  fail(Fault::input, "index() did not find the value");
}

template <Sequence::Kind kind>
Value view_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a view of a dict", arguments, {});
  Values items;
  runtime.budget().spend_bytes(self.dict().entries.size() * (kind == Sequence::Kind::items ? 4 : 1) * sizeof(Value));
  for (const auto& [key, value] : self.dict().entries) {
    items.push_back(kind == Sequence::Kind::keys     ? key
                    : kind == Sequence::Kind::values ? value
                                                     : Value::tuple({key, value}));
  }
  return Value(std::make_shared<const Sequence>(
      Sequence{kind, std::move(items), self.depth() + (kind == Sequence::Kind::items ? 1 : 0), {}}));
}

Value get_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto a = bind("get", arguments, {"key", "default"}, 1);
  check_hashable(*a[0]);
  runtime.budget().spend_steps(self.dict().entries.size() / 16);
  if (const Value* found = self.dict().find(*a[0])) return *found;
  return a[1] != nullptr ? *a[1] : Value::none();
}

Value copy_method(Runtime&, const Value& self, const Arguments& arguments) {
  bind("copy", arguments, {});
  return self;
}

const MethodTable& methods_of(const Value& object) {
  static const MethodTable kText = {{"strip", strip_method<true, true>},
                                    {"lstrip", strip_method<true, false>},
                                    {"rstrip", strip_method<false, true>},
                                    {"split", split_method<&split>},
                                    {"rsplit", split_method<&split_right>},
                                    {"splitlines", lines_method},
                                    {"startswith", affix_method<false>},
                                    {"endswith", affix_method<true>},
                                    {"removeprefix", remove_method<false>},
                                    {"removesuffix", remove_method<true>},
                                    {"upper", case_method<&upper>},
                                    {"lower", case_method<&lower>},
                                    {"title", case_method<&title>},
                                    {"capitalize", case_method<&capitalize>},
                                    {"isupper", test_method<&is_upper>},
                                    {"islower", test_method<&is_lower>},
                                    {"isspace", test_method<&all_space>},
                                    {"isdigit", test_method<&all_digits>},
                                    {"find", find_in_text<false>},
                                    {"rfind", find_in_text<true>},
                                    {"replace", replace_method},
                                    {"join", join_method},
                                    {"count", count_method}};
  static const MethodTable kDict = {{"keys", view_method<Sequence::Kind::keys>},
                                    {"values", view_method<Sequence::Kind::values>},
                                    {"items", view_method<Sequence::Kind::items>},
                                    {"get", get_method},
                                    {"copy", copy_method}};
  static const MethodTable kList = {{"index", index_method}, {"count", count_method}, {"copy", copy_method}};
  static const MethodTable kTuple = {{"index", index_method}, {"count", count_method}};
  static const MethodTable kNothing;
  if (object.is_string()) return kText;
  if (object.is(Value::Kind::dict)) return kDict;
  if (object.is(Value::Kind::sequence) && object.sequence().kind == Sequence::Kind::list) return kList;
  if (object.is(Value::Kind::sequence) && !object.sequence().is_view()) return kTuple;
  return kNothing;
}

// Methods that would change a list or mapping, which templates may not.
bool is_forbidden(const Value& object, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  const auto has = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (object.is(Value::Kind::dict)) return has(kDict);
  return object.is(Value::Kind::sequence) && object.sequence().kind == Sequence::Kind::list && has(kList);
}

std::optional<Value> loop_attribute(const Value& self, std::string_view name) {
  Loop& loop = self.loop();
  const auto count = [&] { return static_cast<int64_t>(loop.count()); };
  if (name == "index") return loop.index0 + 1;
  if (name == "index0") return loop.index0;
  if (name == "first") return loop.index0 == 0;
  if (name == "last") return !loop.peek().has_value();
  if (name == "length") return count();
  if (name == "revindex") return count() - loop.index0;
  if (name == "revindex0") return count() - loop.index0 - 1;
  if (name == "depth") return loop.depth0 + 1;
  if (name == "depth0") return loop.depth0;
  if (name == "previtem") return loop.before ? *loop.before : Value::undefined("there is no previous item");
  if (name == "nextitem") return loop.peek().value_or(Value::undefined("there is no next item"));
  if (name == "cycle") {
    return make_function("cycle", [self](Runtime&, const Arguments& a) {
      if (a.positional.empty()) fail(Fault::input, "no items for cycling given");
      return a.positional[static_cast<size_t>(self.loop().index0) % a.positional.size()];
    });
  }
  if (name == "changed") {
    return make_function("changed", [self](Runtime& runtime, const Arguments& a) {
      auto& last = self.loop().last_changed;
      const bool same =
          last && std::equal(last->positional.begin(), last->positional.end(), a.positional.begin(), a.positional.end(),
                             [&](const Value& x, const Value& y) { return equals(x, y, runtime.budget()); });
      if (!same) last = a;
      return Value(!same);
    });
  }
  return {};
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
  if (object.is(Value::Kind::loop)) return loop_attribute(object, name);
  if (object.is(Value::Kind::name_space)) {
    const Value* found = find_attribute(object.name_space(), name);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (object.is(Value::Kind::function) && name == "name") return Value(object.function().name);
  if (is_forbidden(object, name)) {
    return Value::undefined(
        fmt::format("{} of a {} would change it, which templates may not", name, object.type_name()));
  }
  const MethodTable& methods = methods_of(object);
  const auto method = methods.find(name);
  if (method == methods.end()) return {};
  return make_function(std::string(name),
                       [object, body = method->second](Runtime& runtime, const Arguments& arguments) {
                         runtime.budget().spend_steps(object.is_string() ? object.string().size() / 64 : 1);
                         return body(runtime, object, arguments);
                       });
}

}  // namespace flashmoe::jinja
