#include "text/jinja/globals.h"

#include <ctime>
#include <map>

namespace flashmoe::jinja {

namespace {

Value make_range(Runtime& runtime, const Arguments& arguments) {
  static constexpr int64_t kMaxRange = 100000;
  const auto a = bind("range", arguments, {"start", "stop", "step"}, 1);
  if (!arguments.named.empty()) fail(Fault::input, "range() takes no named arguments");
  const int64_t first = integer_argument("range()", *a[0]);
  const int64_t start = a[1] ? first : 0, stop = a[1] ? integer_argument("range()", *a[1]) : first;
  const int64_t step = a[2] ? integer_argument("range()", *a[2]) : 1;
  if (step == 0) fail(Fault::input, "range() got a step of zero");
  Values items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push_back(i);
    if (static_cast<int64_t>(items.size()) > kMaxRange) fail(Fault::input, "range() has more than {} items", kMaxRange);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  runtime.budget().spend_bytes(items.size() * sizeof(Value));
  std::string label = a[2] && step != 1 ? fmt::format("range({}, {}, {})", start, stop, step)
                                        : fmt::format("range({}, {})", start, stop);
  return Value(
      std::make_shared<const Sequence>(Sequence{Sequence::Kind::range, std::move(items), 1, std::move(label)}));
}

std::vector<std::pair<Value, Value>> dict_entries(Runtime& runtime, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) fail(Fault::input, "dict() takes at most 1 positional argument");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is(Value::Kind::dict)) {
      entries = from.dict().entries;
    } else {
      for (const Value& pair : iterate(from, runtime.budget())) {
        Values both = iterate(pair, runtime.budget());
        if (both.size() != 2) fail(Fault::input, "dict() takes pairs");
        entries.emplace_back(both[0], both[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(Value(name), value);
  return entries;
}

Value make_namespace(Runtime& runtime, const Arguments& arguments) {
  const Value entries = make_dict(dict_entries(runtime, arguments), runtime.budget());
  Value space = runtime.name_space();
  for (const auto& [key, value] : entries.dict().entries) {
    space.name_space().attributes.emplace_back(text_argument("namespace", key), value);
  }
  return space;
}

Value strftime_now(Runtime& runtime, const Arguments& arguments) {
  const std::string& format = text_argument("strftime_now", *bind("strftime_now", arguments, {"format"}, 1)[0]);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[1024];
  const size_t n = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  if (n == 0 && !format.empty()) fail(Fault::input, "strftime_now() got a format whose result is empty or too long");
  return runtime.text(std::string(buffer, n));
}

}  // namespace

Value global(std::string_view name) {
  static const std::map<std::string_view, Value (*)(Runtime&, const Arguments&)> kGlobals = {
      {"range", make_range},
      {"dict", [](Runtime& r, const Arguments& a) { return make_dict(dict_entries(r, a), r.budget()); }},
      {"namespace", make_namespace},
      {"strftime_now", strftime_now},
      {"raise_exception", [](Runtime& r, const Arguments& a) -> Value {
         fail(Fault::input, "{}", r.str(*bind("raise_exception", a, {"message"}, 1)[0]));
       }}};
  const auto found = kGlobals.find(name);
  if (found == kGlobals.end()) return Value::undefined(fmt::format("'{}' is undefined", name));
  return make_function(std::string(name), found->second);
}

}  // namespace flashmoe::jinja
