#include <algorithm>

#include "base/error.h"
#include "sampling/grammar/json_schema.h"

namespace flashmoe {

void JsonSchema::finish() {
  while (!pending_.empty()) {
    const PendingRule next = std::move(pending_.front());
    pending_.pop_front();
    next.is_object ? add_object(next.rule, next.shape) : add_array(next.rule, next.shape);
  }
}

void JsonSchema::add_value(const std::vector<Shape>& shapes, Node from, Node to) {
  for (const Shape& shape : shapes) add_shape(shape, from, to);
}

void JsonSchema::add_shape(const Shape& shape, Node from, Node to) {
  if (shape.choices) return add_choices(shape, from, to);
  if (shape.allows(Shape::null)) values_.null(from, to);
  if (shape.allows(Shape::boolean)) values_.boolean(from, to);
  const bool numbers = shape.allows(Shape::number);
  if (numbers || shape.allows(Shape::integer)) {
    if (!shape.range.is_limited()) {
      numbers ? values_.number(from, to) : values_.integer(from, to);
    } else if (!shape.range.add_steps(a_, !numbers, from, to)) {
      fail(Fault::input,
           "{}: only {} of more than {} digits meet the bounds of a number in it, and such are not supported", name_,
           numbers ? "numbers" : "integers", NumberRange::most_digits(!numbers));
    }
  }
  if (shape.allows(Shape::string)) add_text(shape, from, to);
  if (shape.allows(Shape::array)) a_.add_call(from, '[', rule(shape, false), to);
  if (shape.allows(Shape::object)) a_.add_call(from, '{', rule(shape, true), to);
}

void JsonSchema::add_choices(const Shape& shape, Node from, Node to) {
  std::vector<std::string> literals;
  for (const SchemaJson* choice : fitting_choices(shape)) {
    if (choice->is_structured()) {
      add_shape(shape_of_value(*choice), from, to);
    } else {
      literals.push_back(choice->dump());
    }
  }
  values_.literals(from, literals, to);
}

void JsonSchema::add_text(const Shape& shape, Node from, Node to) {
  const CharDfa dfa = texts(shape);
  if (shape.patterns.empty()) return values_.text(from, shape.least_characters, shape.most_characters, to);
  const Node inside = a_.add_node(), end = a_.add_node();
  a_.add_bytes(from, '"', '"', inside);
  add_texts(a_, dfa, TextForm::json, inside, end);
  a_.add_bytes(end, '"', '"', to);
}

int32_t JsonSchema::rule(const Shape& shape, bool is_object) {
  const bool anything = shape.least_items == 0 && shape.most_items == Automaton::kUnlimited && shape.prefix.empty() &&
                        shape.items.empty();
  if (!is_object && anything) return values_.any_array();
  if (is_object && shape.properties.empty() && shape.required.empty() && shape.additional.empty()) {
    return values_.any_object();
  }
  const auto [found, is_new] = rules_.try_emplace({is_object, shape.key()}, -1);
  if (is_new) {
    found->second = a_.add_rule();
    pending_.push_back({found->second, shape, is_object});
  }
  return found->second;
}

// An array or object with nothing open about it.
Shape JsonSchema::shape_of_value(const SchemaJson& value) {
  Shape shape;
  const auto constant = [&](const SchemaJson& inner) {
    constants_.push_back(SchemaJson::object());
    constants_.back()["const"] = inner;
    return Schemas{&constants_.back()};
  };
  if (value.is_array()) {
    shape.types = Shape::array;
    for (const SchemaJson& item : value) shape.prefix.push_back(constant(item));
    shape.least_items = shape.most_items = static_cast<int32_t>(value.size());
    return shape;
  }
  static const SchemaJson kNone = false;
  shape.types = Shape::object;
  shape.additional = {&kNone};
  shape.open = false;
  for (const auto& [name, inner] : value.items()) {
    shape.properties.push_back({name, constant(inner)});
    shape.required.push_back(name);
  }
  return shape;
}

// The node before a colon, a space perhaps, and the value.
Node JsonSchema::colon_and_value(const Schemas& schemas, Node behind) {
  const Node colon = a_.add_node(), space = a_.add_node(), value = a_.add_node();
  a_.add_bytes(colon, ':', ':', space);
  a_.add_bytes(space, ' ', ' ', value);
  a_.add_empty(space, value);
  add_value(shapes(schemas), value, behind);
  return colon;
}

void JsonSchema::add_object(int32_t rule, Shape shape) {
  for (const std::string& name : shape.required) {
    if (shape.property(name) == nullptr) shape.properties.push_back({name, shape.additional});
  }
  static const SchemaJson kFalse = false;
  const bool closed = shape.open ? !shape.properties.empty()
                                 : std::find_if(shape.additional.begin(), shape.additional.end(),
                                                [](const auto* s) { return *s == kFalse; }) != shape.additional.end();
  const size_t n = shape.properties.size();
  // before[i]: in front of a member, of which the first i are over; behind[i]: after one.
  std::vector<Node> before, behind;
  for (size_t i = 0; i <= n; ++i) {
    before.push_back(a_.add_node());
    behind.push_back(a_.add_node());
  }
  const Node end = a_.add_node(), before_end = values_.space_before(end);
  a_.add_close(end, '}', rule);
  bool may_end = true;  // none of the properties from i on is required
  for (size_t i = n + 1; i-- > 0;) {
    const bool has_more = i < n || !closed;
    if (i < n) {
      const bool required = shape.requires_property(shape.properties[i].name);
      may_end = may_end && !required;
      if (!required) a_.add_empty(before[i], before[i + 1]);
      values_.literal(before[i], SchemaJson(shape.properties[i].name).dump(),
                      colon_and_value(shape.properties[i].schemas, behind[i + 1]));
    }
    if (may_end) a_.add_empty(behind[i], before_end);
    if (has_more) a_.add_bytes(behind[i], ',', ',', values_.space_before(before[i]));
    if (has_more && i == 0) a_.add_empty(a_.start(rule), values_.space_before(before[0]));
  }
  if (may_end) a_.add_empty(a_.start(rule), before_end);
  if (!closed) add_further_members(shape, before[n], behind[n]);
}

// Members of other names than the properties'. They are written without \u, so that no name has two forms.
void JsonSchema::add_further_members(const Shape& shape, Node from, Node behind) {
  const Node colon = colon_and_value(shape.additional, behind);
  if (shape.properties.empty()) return values_.text(from, 0, Automaton::kUnlimited, colon);
  std::vector<std::string> names;
  for (const Shape::Property& property : shape.properties) names.push_back(property.name);
  const Node inside = a_.add_node(), end = a_.add_node();
  a_.add_bytes(from, '"', '"', inside);
  add_texts(a_, all_but(names), TextForm::json, inside, end);
  a_.add_bytes(end, '"', '"', colon);
}

void JsonSchema::add_array(int32_t rule, const Shape& shape) {
  int32_t most = shape.most_items;
  const auto n_prefix = static_cast<int32_t>(shape.prefix.size());
  const Node end = a_.add_node(), before_end = values_.space_before(end);
  a_.add_close(end, ']', rule);
  if (shape.least_items == 0) a_.add_empty(a_.start(rule), before_end);
  const bool limited = most != Automaton::kUnlimited;
  // The last item that differs from those behind it.
  const int32_t last = limited ? most : std::max(shape.least_items, n_prefix) + 1;
  const std::vector<Shape> further = shapes(shape.items);
  Node behind = -1;
  for (int32_t i = 0; i < last; ++i) {
    const Node value = a_.add_node(), spaced = values_.space_before(value);
    i == 0 ? a_.add_empty(a_.start(rule), spaced) : a_.add_bytes(behind, ',', ',', spaced);
    behind = a_.add_node();
    add_value(i < n_prefix ? shapes(shape.prefix[static_cast<size_t>(i)]) : further, value, behind);
    if (i + 1 >= shape.least_items) a_.add_empty(behind, before_end);
    if (!limited && i + 1 == last) a_.add_bytes(behind, ',', ',', spaced);
  }
}

}  // namespace flashmoe
