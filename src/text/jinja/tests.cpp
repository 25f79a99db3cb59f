#include "text/jinja/tests.h"

#include <map>

#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace flashmoe::jinja {

namespace {

using Kind = Value::Kind;
using TestBody = bool (*)(Runtime&, const Value&, const Arguments&);

template <Kind kind>
bool is_kind(Runtime&, const Value& value, const Arguments& arguments) {
  bind("the test", arguments, {});
  return value.is(kind);
}

template <CompareOp op>
bool compares(Runtime& runtime, const Value& value, const Arguments& arguments) {
  return compare(op, value, *bind("the test", arguments, {"other"}, 1)[0], runtime);
}

bool has_remainder(Runtime& runtime, const Value& value, const Value& divisor, int64_t wanted) {
  return equals(arithmetic(BinaryOp::modulo, value, divisor, runtime), Value(wanted), runtime.budget());
}

bool is_iterable(const Value& v) {
  return v.is(Kind::string) || v.is(Kind::sequence) || v.is(Kind::dict) || v.is(Kind::generator) || v.is(Kind::loop) ||
         v.is_undefined();
}

bool is_sequence(const Value& v) {
  if (v.is(Kind::sequence)) return !v.sequence().is_view();
  return v.is(Kind::string) || v.is(Kind::dict) || v.is_undefined();
}

bool is_same(const Value& a, const Value& b, Runtime& runtime) {
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::sequence)) return &a.sequence() == &b.sequence();
  if (a.is(Kind::dict)) return &a.dict() == &b.dict();
  return equals(a, b, runtime.budget());
}

const std::map<std::string_view, TestBody>& tests() {
  static const std::map<std::string_view, TestBody> kTests = {
      {"defined",
       [](Runtime&, const Value& v, const Arguments& a) { return bind("defined", a, {}), !v.is_undefined(); }},
      {"undefined", is_kind<Kind::undefined>},
      {"none", is_kind<Kind::none>},
      {"boolean", is_kind<Kind::boolean>},
      {"integer", is_kind<Kind::integer>},
      {"float", is_kind<Kind::real>},
      {"string", is_kind<Kind::string>},
      {"mapping", is_kind<Kind::dict>},
      {"number", [](Runtime&, const Value& v, const Arguments& a) { return bind("number", a, {}), v.is_number(); }},
      {"true", [](Runtime&, const Value& v, const Arguments&) { return v.is(Kind::boolean) && v.boolean(); }},
      {"false", [](Runtime&, const Value& v, const Arguments&) { return v.is(Kind::boolean) && !v.boolean(); }},
      {"iterable", [](Runtime&, const Value& v, const Arguments&) { return is_iterable(v); }},
      {"sequence", [](Runtime&, const Value& v, const Arguments&) { return is_sequence(v); }},
      {"callable", [](Runtime&, const Value& v, const Arguments&) { return v.is(Kind::function) || v.is_undefined(); }},
      {"odd", [](Runtime& r, const Value& v, const Arguments&) { return has_remainder(r, v, int64_t{2}, 1); }},
      {"even", [](Runtime& r, const Value& v, const Arguments&) { return has_remainder(r, v, int64_t{2}, 0); }},
      {"divisibleby",
       [](Runtime& r, const Value& v, const Arguments& a) {
         return has_remainder(r, v, *bind("divisibleby", a, {"num"}, 1)[0], 0);
       }},
      {"upper", [](Runtime& r, const Value& v, const Arguments&) { return is_upper(r.str(v)); }},
      {"lower", [](Runtime& r, const Value& v, const Arguments&) { return is_lower(r.str(v)); }},
      {"sameas", [](Runtime& r, const Value& v,
                    const Arguments& a) { return is_same(v, *bind("sameas", a, {"other"}, 1)[0], r); }},
      {"filter", [](Runtime&, const Value& v, const Arguments&) { return v.is_string() && is_filter(v.string()); }},
      {"test",
       [](Runtime&, const Value& v, const Arguments&) { return v.is_string() && tests().count(v.string()) != 0; }},
      {"in", compares<CompareOp::in>},
      {"eq", compares<CompareOp::eq>},
      {"==", compares<CompareOp::eq>},
      {"equalto", compares<CompareOp::eq>},
      {"ne", compares<CompareOp::ne>},
      {"!=", compares<CompareOp::ne>},
      {"lt", compares<CompareOp::lt>},
      {"<", compares<CompareOp::lt>},
      {"lessthan", compares<CompareOp::lt>},
      {"le", compares<CompareOp::le>},
      {"<=", compares<CompareOp::le>},
      {"gt", compares<CompareOp::gt>},
      {">", compares<CompareOp::gt>},
      {"greaterthan", compares<CompareOp::gt>},
      {"ge", compares<CompareOp::ge>},
      {">=", compares<CompareOp::ge>}};
  return kTests;
}

}  // namespace

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Runtime& runtime) {
  const auto found = tests().find(name);
  if (found == tests().end()) fail(Fault::input, "the test '{}' is not known here or not supported", name);
  runtime.budget().spend_steps(1);
  return found->second(runtime, value, arguments);
}

}  // namespace flashmoe::jinja
