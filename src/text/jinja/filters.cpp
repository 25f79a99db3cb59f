#include "text/jinja/filters.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

// Python's float(text): surrounding white space, underscores between digits, inf and nan. Empty when it is none.
std::optional<double> parse_real(std::string_view text) {
  std::string digits = lower(strip(text, {}, true, true));
  for (size_t i = 0; i < digits.size(); ++i) {
    const auto digit = [&](size_t at) { return at < digits.size() && digits[at] >= '0' && digits[at] <= '9'; };
    if (digits[i] == '_' && (i == 0 || !digit(i - 1) || !digit(i + 1))) return {};
  }
  std::erase(digits, '_');
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  double value = 0;
  if (rest == "inf" || rest == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (rest == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (rest.empty() || rest[0] == '-' || rest.find_first_not_of("0123456789.e+-") != std::string_view::npos) return {};
    const auto result = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (result.ptr != rest.data() + rest.size() || result.ec == std::errc::invalid_argument) return {};
    if (result.ec == std::errc::result_out_of_range) {
      const bool tiny = rest.find("e-") != std::string_view::npos;
      value = tiny ? 0 : std::numeric_limits<double>::infinity();
    }
  }
  return negative ? -value : value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  std::string_view digits = strip(text, {}, true, true);
  const bool plus = digits.starts_with('+');
  if (plus) digits.remove_prefix(1);
  int64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec == std::errc::result_out_of_range) fail(Fault::input, "an integer does not fit 64 bits");
  if (digits.empty() || (plus && digits[0] == '-') || result.ptr != digits.data() + digits.size()) return {};
  return value;
}

Value truncated(double value, const Value& otherwise) {
  if (!std::isfinite(value)) return otherwise;
  if (std::abs(value) >= 9.2233720368547758e18) fail(Fault::input, "an integer does not fit 64 bits");
  return static_cast<int64_t>(value);
}

Value to_integer(Runtime&, const Value& value, const Arguments& arguments) {
  const auto a = bind("int", arguments, {"default", "base"});
  const Value otherwise = a[0] != nullptr ? *a[0] : Value(int64_t{0});
  if (a[1] != nullptr && integer_argument("int", *a[1]) != 10) fail(Fault::input, "int() supports base 10 only");
  value.defined();
  if (value.is_integral()) return value.integral();
  if (value.is_number()) return truncated(value.number(), otherwise);
  if (!value.is_string()) return otherwise;
  if (const auto integer = parse_integer(value.string())) return *integer;
  const auto real = parse_real(value.string());
  return real ? truncated(*real, otherwise) : otherwise;
}

Value to_real(Runtime&, const Value& value, const Arguments& arguments) {
  const auto a = bind("float", arguments, {"default"});
  const Value otherwise = a[0] != nullptr ? *a[0] : Value(0.0);
  value.defined();
  if (value.is_number()) return value.number();
  const auto real = value.is_string() ? parse_real(value.string()) : std::nullopt;
  return real ? Value(*real) : otherwise;
}

Value absolute(Runtime&, const Value& value, const Arguments& arguments) {
  bind("abs", arguments, {});
  value.defined();
  if (value.is(Value::Kind::real)) return std::abs(value.number());
  const int64_t n = integer_argument("abs", value);
  return n < 0 ? negate(Value(n)) : Value(n);
}

// Python's round(): correctly rounded, halves to even, which is what printing with that many digits does.
double round_real(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < -300) return std::copysign(0.0, value);
  if (digits == 0) return std::nearbyint(value);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / unit) * unit;
  }
  const std::string text = fmt::format("{:.{}f}", value, digits);
  double out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

Value round_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto a = bind("round", arguments, {"precision", "method"});
  const int64_t digits = a[0] != nullptr ? integer_argument("round", *a[0]) : 0;
  const std::string method = a[1] != nullptr ? runtime.str(*a[1]) : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    fail(Fault::input, "round: method must be common, ceil or floor");
  value.defined();
  if (!value.is_number()) fail(Fault::input, "round takes a number, not '{}'", value.type_name());
  if (method == "common") {
    if (value.is_integral() && digits >= 0) return value.integral();
    if (value.is_integral()) return static_cast<int64_t>(round_real(value.number(), digits));
    return round_real(value.number(), digits);
  }
  if (digits > 300 || digits < -300) fail(Fault::input, "round: the precision is out of range");
  const double unit = std::pow(10.0, static_cast<double>(digits)), scaled = value.number() * unit;
  if (!std::isfinite(scaled)) fail(Fault::input, "round: the number is too large");
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit;
}

}  // namespace

const FilterTable& number_filters() {
  static const FilterTable kTable = {
      {"int", to_integer}, {"float", to_real}, {"abs", absolute}, {"round", round_filter}};
  return kTable;
}

bool is_filter(std::string_view name) {
  return text_filters().count(name) != 0 || number_filters().count(name) != 0 || sequence_filters().count(name) != 0;
}

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Runtime& runtime) {
  runtime.budget().spend_steps(1);
  for (const FilterTable* table : {&text_filters(), &number_filters(), &sequence_filters()}) {
    const auto found = table->find(name);
    if (found != table->end()) return found->second(runtime, value, arguments);
  }
  fail(Fault::input, "the filter '{}' is not known here or not supported", name);
}

}  // namespace flashmoe::jinja
