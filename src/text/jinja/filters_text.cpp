// Filters that make text.
#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/json.h"
#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

Value string_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("string", arguments, {});
  return value.is_string() ? value : Value(runtime.str(value));
}

template <std::string (*converts)(std::string_view)>
Value case_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("the filter", arguments, {});
  return runtime.text(converts(runtime.str(value)));
}

Value trim(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("trim", arguments, {"chars"});
  const std::string text = runtime.str(value);
  if (a[0] == nullptr || a[0]->is_none()) return Value::text(strip(text, {}, true, true));
  if (!a[0]->is_string()) fail(Fault::input, "trim takes a string, not '{}'", a[0]->type_name());
  return Value::text(strip(text, a[0]->string(), true, true));
}

Value replace_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("replace", arguments, {"old", "new", "count"}, 2);
  const std::string text = runtime.str(value), from = runtime.str(*a[0]), to = runtime.str(*a[1]);
  const int64_t limit = a[2] != nullptr && !a[2]->is_none() ? integer_argument("replace", *a[2]) : -1;
  runtime.budget().spend_bytes(text.size() + count(text, from) * to.size());
  return Value(replace(text, from, to, limit));
}

// A text, or so many spaces.
std::string margin_of(Runtime& runtime, std::string_view callee, const Value& width) {
  if (width.is_string()) return width.string();
  const auto n = static_cast<size_t>(std::max<int64_t>(0, integer_argument(callee, width)));
  runtime.budget().spend_bytes(n);
  return std::string(n, ' ');
}

Value indent(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("indent", arguments, {"width", "first", "blank"});
  value.defined();
  if (!value.is_string()) fail(Fault::input, "indent takes a string, not '{}'", value.type_name());
  const std::string margin = margin_of(runtime, "indent", a[0] != nullptr ? *a[0] : Value(int64_t{4}));
  const bool first = a[1] != nullptr && a[1]->truthy(), blank = a[2] != nullptr && a[2]->truthy();
  std::string text = value.string();
  text += '\n';
  const auto lines = split_lines(text, false);
  runtime.budget().spend_bytes(text.size() + lines.size() * (margin.size() + sizeof(std::string_view)));
  std::string out;
  if (first) out += margin;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i != 0) out += '\n';
    if (i != 0 && (blank || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return Value(std::move(out));
}

Value escape(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("escape", arguments, {});
  std::string out;
  for (const char c : runtime.str(value)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return runtime.text(std::move(out));
}

Value word_count(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind("wordcount", arguments, {});
  return static_cast<int64_t>(count_words(runtime.str(value)));
}

Value to_json(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = a[0] != nullptr && a[0]->truthy();
  if (a[1] != nullptr && !a[1]->is_none()) {
    style.indent = margin_of(runtime, "tojson", *a[1]);
    style.item_separator.assign(1, ',');
  }
  if (a[2] != nullptr && !a[2]->is_none()) {
    const Values both = iterate(*a[2], runtime.budget());
    if (both.size() != 2 || !both[0].is_string() || !both[1].is_string()) {
      fail(Fault::input, "tojson: separators are two strings");
    }
    style.item_separator = both[0].string();
    style.key_separator = both[1].string();
  }
  style.sort_keys = a[3] != nullptr && a[3]->truthy();
  return Value(write_json(value, style, runtime.budget()));
}

}  // namespace

const FilterTable& text_filters() {
  static const FilterTable kTable = {{"string", string_filter},
                                     {"safe", string_filter},
                                     {"upper", case_filter<&upper>},
                                     {"lower", case_filter<&lower>},
                                     {"title", case_filter<&title_words>},
                                     {"capitalize", case_filter<&capitalize>},
                                     {"trim", trim},
                                     {"replace", replace_filter},
                                     {"indent", indent},
                                     {"escape", escape},
                                     {"e", escape},
                                     {"wordcount", word_count},
                                     {"tojson", to_json}};
  return kTable;
}

}  // namespace flashmoe::jinja
