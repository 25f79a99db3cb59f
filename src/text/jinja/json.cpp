#include "text/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value) {
    const size_t before = out_.size();
    switch (value.kind()) {
      case Value::Kind::none:
        out_ += "null";
        break;
      case Value::Kind::boolean:
        out_ += value.boolean() ? "true" : "false";
        break;
      case Value::Kind::integer:
        out_ += std::to_string(value.integral());
        break;
      case Value::Kind::real:
        real(value.number());
        break;
      case Value::Kind::string:
        string(value.string());
        break;
      case Value::Kind::dict:
        return dict(value.dict());
      case Value::Kind::sequence:
        if (value.sequence().kind <= Sequence::Kind::tuple) return list(value.sequence().items);
        [[fallthrough]];
      default:
        fail(Fault::input, "Object of type {} is not JSON serializable", value.type_name());
    }
    budget_.spend_bytes(out_.size() - before);
  }
  std::string take() { return std::move(out_); }

 private:
  void real(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else {
      out_ += std::isinf(value) ? (value > 0 ? "Infinity" : "-Infinity") : repr_real(value);
    }
  }

  void unicode(uint32_t unit) { fmt::format_to(std::back_inserter(out_), "\\u{:04x}", unit); }

  void string(const std::string& text) {
    static constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    out_ += '"';
    for (std::string_view s : code_points(text)) {
      const uint32_t c = decode(s);
      if (const size_t i = s.size() == 1 ? kEscaped.find(s[0]) : std::string_view::npos; i != std::string_view::npos) {
        out_.append({'\\', kLetters[i]});
      } else if (c < 0x20) {
        unicode(c);
      } else if (!style_.ascii || c < 0x7F || c == 0xFFFFFFFF) {
        out_ += s;
      } else if (c < 0x10000) {
        unicode(c);
      } else {
        unicode(0xD800 + ((c - 0x10000) >> 10));
        unicode(0xDC00 + ((c - 0x10000) & 0x3FF));
      }
    }
    out_ += '"';
  }

  void line_break() {
    if (!style_.indent) return;
    budget_.spend_bytes(static_cast<uint64_t>(depth_) * style_.indent->size() + 1);
    out_ += '\n';
    for (int i = 0; i < depth_; ++i) out_ += *style_.indent;
  }

  template <typename Items, typename Each>
  void nested(char open, char close, const Items& items, Each each) {
    budget_.spend_bytes(2);
    out_ += open;
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      line_break();
      each(item);
      budget_.spend_bytes(style_.item_separator.size());
    }
    --depth_;
    if (!items.empty()) line_break();
    out_ += close;
  }

  void list(const Values& items) {
    nested('[', ']', items, [&](const Value& item) { write(item); });
  }

  void key(const Value& key) {
    switch (key.kind()) {
      case Value::Kind::string:
        return string(key.string());
      case Value::Kind::none:
      case Value::Kind::boolean:
      case Value::Kind::integer:
      case Value::Kind::real:
        out_ += '"';
        write(key);
        out_ += '"';
        return;
      default:
        fail(Fault::input, "a JSON key cannot be of type {}", key.type_name());
    }
  }

  void dict(const Dict& dict) {
    auto entries = dict.entries;
    budget_.spend_bytes(entries.size() * 2 * sizeof(Value));
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(a.first, b.first, budget_); });
    }
    nested('{', '}', entries, [&](const std::pair<Value, Value>& entry) {
      key(entry.first);
      out_ += style_.key_separator;
      budget_.spend_bytes(style_.key_separator.size());
      write(entry.second);
    });
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  int depth_ = 0;
};

Value convert(const nlohmann::ordered_json& json, int depth) {
  if (depth >= kMaxValueDepth) fail(Fault::input, "the request is nested more than {} deep", kMaxValueDepth);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null:
      return Value::none();
    case nlohmann::ordered_json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto n = json.get<uint64_t>();
      if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return static_cast<double>(n);
      return static_cast<int64_t>(n);
    }
    case nlohmann::ordered_json::value_t::number_float:
      return json.get<double>();
    case nlohmann::ordered_json::value_t::string:
      return Value(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::array: {
      Values items;
      for (const auto& item : json) items.push_back(convert(item, depth + 1));
      return Value::list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      for (const auto& [key, value] : json.items()) entries.emplace_back(Value(key), convert(value, depth + 1));
      return Value::dict(std::move(entries));
    }
    default:
      fail(Fault::input, "the request holds a {}, which JSON has not", json.type_name());
  }
}

}  // namespace

std::string write_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.write(value);
  return writer.take();
}

Value from_json(const nlohmann::ordered_json& json) { return convert(json, 0); }

}  // namespace flashmoe::jinja
