#include "sampling/grammar/tool_call_steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace flashmoe {
namespace {

const SchemaJson* member(const SchemaJson& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

// A reader takes a name up to the next '>'.
void require_name(std::string_view name, std::string_view what) {
  if (name.empty() || name.find_first_of(" \t\r\n<>") != std::string_view::npos) {
    fail(Fault::input, "{} '{}' cannot be called: a name has no white space, < or > in it", what, name);
  }
}

bool is_forbidden(std::string_view text) {
  return std::any_of(std::begin(kForbiddenInRaw), std::end(kForbiddenInRaw),
                     [&](std::string_view forbidden) { return text.find(forbidden) != std::string_view::npos; });
}

// Some alternative is a string: its value stands there without quotes, and what looks like JSON may be part of it.
bool may_be_text(const Shape& shape) {
  if (!shape.choices) return shape.allows(Shape::string);
  return std::any_of(shape.choices->begin(), shape.choices->end(),
                     [](const auto* value) { return value->is_string(); });
}

}  // namespace

ToolCallSteps::ToolCallSteps(Automaton& automaton, JsonValues& values, FunctionRef<bool(std::string_view)> is_mark,
                             CallForm form)
    : a_(automaton), values_(values), is_mark_(is_mark), form_(form) {}

void ToolCallSteps::mark(Node from, std::string_view text, Node to) {
  is_mark_(text) ? a_.add_mark(from, text, to) : values_.literal(from, text, to);
}

void ToolCallSteps::add(const SchemaJson& tools, std::string_view name, bool several, Node from) {
  if (!tools.is_array() || tools.empty()) fail(Fault::input, "a call is demanded, but the request has no tools");
  const Node opened = a_.add_node(), closing = a_.add_node(), end = a_.add_node();
  mark(from, "<tool_call>", opened);
  bool found = false;
  for (const SchemaJson& tool : tools) {
    const SchemaJson* inner = member(tool, "function");
    const SchemaJson& function = inner != nullptr ? *inner : tool;
    const SchemaJson* named = member(function, "name");
    if (named == nullptr || !named->is_string()) fail(Fault::input, "a tool has no name");
    const auto& tool_name = named->get_ref<const std::string&>();
    if (!name.empty() && tool_name != name) continue;
    require_name(tool_name, "the tool");
    add_tool(function, tool_name, opened, closing);
    found = true;
  }
  if (!found) fail(Fault::input, "a call of '{}' is demanded, but no tool has that name", name);
  mark(closing, "</tool_call>", end);
  a_.set_end(end);
  if (!several) return;
  const Node next = a_.add_node();
  a_.add_bytes(end, '\n', '\n', next);
  mark(next, "<tool_call>", opened);
}

void ToolCallSteps::add_tool(const SchemaJson& function, const std::string& name, Node from, Node to) {
  const Node begun = a_.add_node(), over = a_.add_node();
  const bool is_json = form_ == CallForm::json;
  const std::string quoted = SchemaJson(name).dump();
  values_.literal(
      from, is_json ? fmt::format("\n{{\"name\": {}, \"arguments\": ", quoted) : fmt::format("\n<function={}>\n", name),
      begun);
  add_arguments(function, begun, over);
  values_.literal(over, is_json ? "}\n" : "</function>\n", to);
}

void ToolCallSteps::add_arguments(const SchemaJson& function, Node from, Node to) {
  const std::string what = fmt::format("schema of tool {}", function["name"].get<std::string>());
  const SchemaJson* parameters = member(function, "parameters");
  if (parameters == nullptr || parameters->is_null())
    return values_.literal(from, form_ == CallForm::json ? "{}" : "", to);
  JsonSchema schema(a_, values_, *parameters, what);
  try {
    for (const Shape& shape : schema.shapes({parameters})) {
      if (shape.allows(Shape::object) && !shape.choices) add_shape(schema, shape, from, to);
    }
    schema.finish();
  } catch (const TooManyNodes&) {
    fail(Fault::input, "{} needs more than {} states: make its lengths, patterns or lists shorter", what,
         Automaton::kMaxNodes);
  }
}

void ToolCallSteps::add_shape(JsonSchema& schema, Shape shape, Node from, Node to) {
  if (form_ == CallForm::xml) return add_parameters(schema, shape, from, to);
  shape.types = Shape::object;
  schema.add_value({std::move(shape)}, from, to);
}

void ToolCallSteps::add_parameters(JsonSchema& schema, const Shape& shape, Node from, Node to) {
  for (const std::string& name : shape.required) {
    if (shape.property(name) == nullptr) {
      fail(Fault::input, "{}: the required parameter '{}' is not among the properties", schema.name(), name);
    }
  }
  for (const Shape::Property& property : shape.properties) {
    require_name(property.name, "the parameter");
    const Node value = a_.add_node(), behind = a_.add_node(), next = a_.add_node();
    values_.literal(from, fmt::format("<parameter={}>\n", property.name), value);
    add_value(schema, schema.shapes(property.schemas), value, behind);
    values_.literal(behind, "\n</parameter>\n", next);
    if (!shape.requires_property(property.name)) a_.add_empty(from, next);
    from = next;
  }
  a_.add_empty(from, to);
}

void ToolCallSteps::add_value(JsonSchema& schema, const std::vector<Shape>& shapes, Node from, Node to) {
  const bool is_text = std::any_of(shapes.begin(), shapes.end(), may_be_text);
  for (Shape shape : shapes) {
    if (shape.choices) {
      add_choices(schema, shape, is_text, from, to);
      continue;
    }
    if (shape.allows(Shape::string)) add_texts(a_, schema.texts(shape), TextForm::raw, from, to);
    shape.types &= static_cast<uint8_t>(~(is_text ? Shape::string | Shape::array | Shape::object : Shape::string));
    schema.add_value({shape}, from, to);
  }
}

void ToolCallSteps::add_choices(JsonSchema& schema, const Shape& shape, bool is_text, Node from, Node to) {
  std::vector<std::string> literals;
  Shape others = shape;
  others.choices->clear();
  for (const SchemaJson* choice : schema.fitting_choices(shape)) {
    if (choice->is_string()) {
      const auto& text = choice->get_ref<const std::string&>();
      if (is_forbidden(text)) fail(Fault::input, "{}: a value holds a closing mark", schema.place(*choice));
      literals.push_back(text);
    } else if (!is_text || !choice->is_structured()) {
      others.choices->push_back(choice);
    }
  }
  if (!literals.empty()) values_.literals(from, literals, to);
  if (!others.choices->empty()) schema.add_value({others}, from, to);
}

}  // namespace flashmoe
