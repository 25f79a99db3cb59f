#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/methods.h"
#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void overflow() { fail(Fault::input, "an integer does not fit 64 bits"); }

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

double real_power(double a, double b) {
  if (a == 0 && b < 0) fail(Fault::input, "division by zero");
  if (a < 0 && std::isfinite(b) && b != std::floor(b)) fail(Fault::input, "a root of a negative number");
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail(Fault::input, "a number is too large");
  return result;
}

double floor_modulo(double a, double b) {
  double m = std::fmod(a, b);
  if (m != 0 && (m < 0) != (b < 0)) m += b;
  return m == 0 ? std::copysign(0.0, b) : m;
}

// As CPython computes it: from the remainder, so that a == (a // b) * b + a % b as nearly as can be.
double floor_quotient(double a, double b) {
  const double m = std::fmod(a, b);
  double quotient = (a - m) / b;
  if (m != 0 && (m < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value integers(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::add:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      return result;
    case BinaryOp::subtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      return result;
    case BinaryOp::multiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      return result;
    case BinaryOp::power:
      return b >= 0 ? Value(integer_power(a, b)) : Value(real_power(double(a), double(b)));
    default:
      break;
  }
  if (b == 0) fail(Fault::input, "division by zero");
  if (op == BinaryOp::divide) return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) {  // the least integer has no opposite
    if (op == BinaryOp::modulo) return int64_t{0};
    if (a == std::numeric_limits<int64_t>::min()) overflow();
    return -a;
  }
  const bool rounds_down = a % b != 0 && (a < 0) != (b < 0);
  return op == BinaryOp::floor_divide ? a / b - (rounds_down ? 1 : 0) : a % b + (rounds_down ? b : 0);
}

Value reals(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add:
      return a + b;
    case BinaryOp::subtract:
      return a - b;
    case BinaryOp::multiply:
      return a * b;
    case BinaryOp::power:
      return real_power(a, b);
    default:
      break;
  }
  if (b == 0) fail(Fault::input, "division by zero");
  return op == BinaryOp::divide ? a / b : op == BinaryOp::modulo ? floor_modulo(a, b) : floor_quotient(a, b);
}

bool is_list_like(const Value& v) { return v.is(Value::Kind::sequence) && v.sequence().kind <= Sequence::Kind::tuple; }

Value repeat(const Value& what, int64_t times, Runtime& runtime) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t unit = what.is_string() ? what.string().size() : what.sequence().items.size() * sizeof(Value);
  if (unit != 0 && n > runtime.budget().bytes_left() / unit)
    fail(Fault::input, "the template makes more text than it may");
  runtime.budget().spend_bytes(unit * n);
  if (what.is_string()) {
    std::string out;
    for (size_t i = 0; i < n && unit != 0; ++i) out += what.string();
    return Value(std::move(out));
  }
  const Sequence& sequence = what.sequence();
  Values out;
  for (size_t i = 0; i < n && unit != 0; ++i) out.insert(out.end(), sequence.items.begin(), sequence.items.end());
  return sequence.kind == Sequence::Kind::tuple ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

Value join_sequences(const Value& a, const Value& b, Runtime& runtime) {
  Values out = iterate(a, runtime.budget());
  const Values more = iterate(b, runtime.budget());
  out.insert(out.end(), more.begin(), more.end());
  return a.sequence().kind == Sequence::Kind::tuple ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

}  // namespace

Value arithmetic(BinaryOp op, const Value& a, const Value& b, Runtime& runtime) {
  a.defined(), b.defined();
  if (a.is_integral() && b.is_integral()) return integers(op, a.integral(), b.integral());
  if (a.is_number() && b.is_number()) return reals(op, a.number(), b.number());
  if (op == BinaryOp::add && a.is_string() && b.is_string()) {
    runtime.budget().spend_bytes(a.string().size() + b.string().size());
    return Value(a.string() + b.string());
  }
  if (op == BinaryOp::add && is_list_like(a) && is_list_like(b) && a.sequence().kind == b.sequence().kind) {
    return join_sequences(a, b, runtime);
  }
  if (op == BinaryOp::multiply) {
    if ((a.is_string() || is_list_like(a)) && b.is_integral()) return repeat(a, b.integral(), runtime);
    if ((b.is_string() || is_list_like(b)) && a.is_integral()) return repeat(b, a.integral(), runtime);
  }
  if (op == BinaryOp::modulo && a.is_string()) fail(Fault::input, "formatting text with % is not supported");
  fail(Fault::input, "'{}' does not take '{}' and '{}'", kSymbols[static_cast<size_t>(op)], a.type_name(),
       b.type_name());
}

Value negate(const Value& value) {
  value.defined();
  if (value.is_integral()) return integers(BinaryOp::subtract, 0, value.integral());
  if (value.is_number()) return -value.number();
  fail(Fault::input, "'-' does not take '{}'", value.type_name());
}

bool contains(const Value& container, const Value& wanted, Runtime& runtime) {
  Budget& budget = runtime.budget();
  switch (container.kind()) {
    case Value::Kind::string:
      if (!wanted.is_string()) fail(Fault::input, "'in <string>' takes a string, not '{}'", wanted.type_name());
      budget.spend_steps(container.string().size() / 64);
      return container.string().find(wanted.string()) != std::string::npos;
    case Value::Kind::dict:
      budget.spend_steps(container.dict().entries.size() / 16);
      check_hashable(wanted);
      return container.dict().find(wanted) != nullptr;
    case Value::Kind::sequence: {
      const Values& items = container.sequence().items;
      return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equals(v, wanted, budget); });
    }
    case Value::Kind::generator: {
      Generator& generator = container.generator();
      while (generator.next < generator.items.size()) {
        if (equals(generator.items[generator.next++], wanted, budget)) return true;
      }
      return false;
    }
    case Value::Kind::undefined:
      return false;
    default:
      fail(Fault::input, "'{}' object is not iterable", container.type_name());
  }
}

bool compare(CompareOp op, const Value& a, const Value& b, Runtime& runtime) {
  Budget& budget = runtime.budget();
  const bool nan = a.is_number() && b.is_number() && (std::isnan(a.number()) || std::isnan(b.number()));
  switch (op) {
    case CompareOp::eq:
      return equals(a, b, budget);
    case CompareOp::ne:
      return !equals(a, b, budget);
    case CompareOp::lt:
      return less(a, b, budget);
    case CompareOp::gt:
      return less(b, a, budget);
    case CompareOp::le:
      return !less(b, a, budget) && !nan;
    case CompareOp::ge:
      return !less(a, b, budget) && !nan;
    case CompareOp::in:
      return contains(b, a, runtime);
    case CompareOp::not_in:
      return !contains(b, a, runtime);
  }
  return false;
}

namespace {

Value missing(const Value& object, const Value& key, Runtime& runtime) {
  if (!key.is_string()) {
    return Value::undefined(
        fmt::format("{} object has no element {}", object.type_name(), repr(key, runtime.budget())));
  }
  return Value::undefined(
      fmt::format("'{} object' has no attribute '{}'", object.type_name(), key.string().substr(0, 100)));
}

// Position in [0, n), or -1.
int64_t position(int64_t index, size_t n) {
  const auto size = static_cast<int64_t>(n);
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

Value element(const Value& object, const Value& key, Runtime& runtime) {
  if (object.is(Value::Kind::sequence) && !object.sequence().is_view()) {
    const Values& items = object.sequence().items;
    const int64_t at = position(key.integral(), items.size());
    if (at >= 0) return items[static_cast<size_t>(at)];
  } else if (object.is_string()) {
    runtime.budget().spend_steps(object.string().size() / 16);
    const auto points = code_points(object.string());
    const int64_t at = position(key.integral(), points.size());
    if (at >= 0) return Value::text(points[static_cast<size_t>(at)]);
  }
  return missing(object, key, runtime);
}

}  // namespace

Value attribute(const Value& object, std::string_view name, Runtime& runtime) {
  object.defined();
  if (auto method = find_method(object, name)) return std::move(*method);
  if (object.is(Value::Kind::dict)) {
    runtime.budget().spend_steps(object.dict().entries.size() / 16);
    if (const Value* found = object.dict().find(name)) return *found;
  }
  return missing(object, Value::text(name), runtime);
}

Value item(const Value& object, const Value& key, Runtime& runtime) {
  object.defined();
  if (object.is(Value::Kind::dict)) {
    runtime.budget().spend_steps(object.dict().entries.size() / 16);
    if (const Value* found = object.dict().find(key)) return *found;
  } else if (key.is_integral()) {
    return element(object, key, runtime);
  }
  if (key.is_string()) {
    if (auto method = find_method(object, key.string())) return std::move(*method);
  }
  return missing(object, key, runtime);
}

namespace {

std::optional<int64_t> bound(const Value* value) {
  if (value == nullptr || value->is_none()) return {};
  return integer_argument("a slice", *value);
}

}  // namespace

Value slice(const Value& object, const Value* start_value, const Value* stop_value, const Value* step_value,
            Runtime& runtime) {
  object.defined();
  const bool is_sequence = object.is(Value::Kind::sequence) && !object.sequence().is_view();
  if (!object.is_string() && !is_sequence) fail(Fault::input, "'{}' cannot be sliced", object.type_name());
  const Values items = iterate(object, runtime.budget());
  const auto n = static_cast<int64_t>(items.size());
  const int64_t step = bound(step_value).value_or(1);
  if (step == 0) fail(Fault::input, "a slice's step is zero");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto clamp = [&](const Value* value, int64_t otherwise) {
    const auto given = bound(value);
    if (!given) return otherwise;
    return std::clamp(*given < 0 ? *given + n : *given, low, high);
  };
  const int64_t start = clamp(start_value, step > 0 ? low : high), stop = clamp(stop_value, step > 0 ? high : low);
  Values out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (object.is_string()) {
    std::string text;
    for (const Value& c : out) text += c.string();
    return runtime.text(std::move(text));
  }
  return object.sequence().kind == Sequence::Kind::tuple ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

Value call(const Value& callee, const Arguments& arguments, Runtime& runtime) {
  callee.defined();
  if (!callee.is(Value::Kind::function)) fail(Fault::input, "'{}' object is not callable", callee.type_name());
  return callee.function().call(runtime, arguments);
}

}  // namespace flashmoe::jinja
