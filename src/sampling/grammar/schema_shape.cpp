#include "sampling/grammar/schema_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "sampling/grammar/pattern.h"

namespace flashmoe {
namespace {

constexpr std::pair<std::string_view, uint8_t> kTypes[] = {
    {"null", Shape::null},       {"boolean", Shape::boolean},
    {"integer", Shape::integer}, {"number", Shape::number | Shape::integer},
    {"string", Shape::string},   {"array", Shape::array},
    {"object", Shape::object}};

// Of these JSON Schema says what they demand; a grammar of this kind does not enforce it.
constexpr std::string_view kRefused[] = {"multipleOf",
                                         "uniqueItems",
                                         "contains",
                                         "minContains",
                                         "maxContains",
                                         "patternProperties",
                                         "propertyNames",
                                         "minProperties",
                                         "maxProperties",
                                         "dependentRequired",
                                         "dependentSchemas",
                                         "dependencies",
                                         "not",
                                         "if",
                                         "unevaluatedItems",
                                         "unevaluatedProperties",
                                         "additionalItems",
                                         "$dynamicRef",
                                         "$recursiveRef",
                                         "$anchor"};

constexpr size_t kMaxProperties = 4000;

// What demands nothing.
bool is_vacuous(std::string_view keyword, const SchemaJson& value) {
  if (value.is_boolean()) return keyword == "uniqueItems" ? !value.get<bool>() : value.get<bool>();
  return keyword == "minProperties" && value == 0;
}

class Reader {
 public:
  Reader(const SchemaJson& schema, FunctionRef<std::string()> place) : schema_(schema), place_(place) {}

  Shape read() {
    for (const std::string_view keyword : kRefused) {
      const SchemaJson* value = find(keyword);
      if (value != nullptr && !is_vacuous(keyword, *value)) {
        fail(Fault::input, "{}: '{}' cannot be enforced", place_(), keyword);
      }
    }
    read_types();
    read_choices();
    read_numbers();
    read_strings();
    read_arrays();
    read_objects();
    return std::move(shape_);
  }

 private:
  [[noreturn]] void bad(std::string_view keyword, std::string_view wanted) const {
    fail(Fault::input, "{}: '{}' must be {}", place_(), keyword, wanted);
  }
  const SchemaJson* find(std::string_view keyword) const {
    const auto found = schema_.find(keyword);
    return found == schema_.end() ? nullptr : &*found;
  }

  void read_types() {
    const SchemaJson* type = find("type");
    if (type == nullptr) return;
    shape_.types = 0;
    if (!type->is_array()) return add_type(*type);
    for (const SchemaJson& one : *type) add_type(one);
  }
  void add_type(const SchemaJson& type) {
    for (const auto& [name, bits] : kTypes) {
      if (type == name) {
        shape_.types |= bits;
        return;
      }
    }
    bad("type", "one of null, boolean, integer, number, string, array, object, or a list of those");
  }

  void read_choices() {
    if (const SchemaJson* choices = find("enum")) {
      if (!choices->is_array()) bad("enum", "a list");
      shape_.choices.emplace();
      for (const SchemaJson& choice : *choices) shape_.choices->push_back(&choice);
    }
    if (const SchemaJson* value = find("const")) {
      const bool contradicts =
          shape_.choices && std::none_of(shape_.choices->begin(), shape_.choices->end(),
                                         [&](const SchemaJson* choice) { return *choice == *value; });
      shape_.choices.emplace();
      if (!contradicts) shape_.choices->push_back(value);
    }
  }

  void read_numbers() {
    // In old drafts exclusiveMinimum is a flag beside minimum.
    const auto flag = [&](std::string_view keyword) {
      const SchemaJson* value = find(keyword);
      return value != nullptr && value->is_boolean() && value->get<bool>();
    };
    const auto number = [&](std::string_view keyword) {
      const SchemaJson* value = find(keyword);
      if (value == nullptr || (value->is_boolean() && keyword.starts_with("exclusive")))
        return std::optional<Decimal>();
      if (!value->is_number()) bad(keyword, "a number");
      return std::optional(Decimal::of(*value));
    };
    if (const auto value = number("minimum")) shape_.range.at_least({*value, flag("exclusiveMinimum")});
    if (const auto value = number("maximum")) shape_.range.at_most({*value, flag("exclusiveMaximum")});
    if (const auto value = number("exclusiveMinimum")) shape_.range.at_least({*value, true});
    if (const auto value = number("exclusiveMaximum")) shape_.range.at_most({*value, true});
  }

  std::optional<int32_t> count(std::string_view keyword) const {
    const SchemaJson* value = find(keyword);
    if (value == nullptr) return std::nullopt;
    const double n = value->is_number() ? value->get<double>() : -1;
    if (n < 0 || n != static_cast<double>(static_cast<int64_t>(std::min(n, 1e18))))
      bad(keyword, "a whole number from 0");
    return static_cast<int32_t>(std::min(n, double{Automaton::kUnlimited - 1}));
  }

  void read_strings() {
    shape_.least_characters = count("minLength").value_or(0);
    shape_.most_characters = count("maxLength").value_or(Automaton::kUnlimited);
    if (const SchemaJson* pattern = find("pattern")) {
      if (!pattern->is_string()) bad("pattern", "a string");
      shape_.patterns.push_back(pattern->get<std::string>());
    }
    if (const SchemaJson* format = find("format")) {
      if (!format->is_string()) bad("format", "a string");
      const auto& name = format->get_ref<const std::string&>();
      // Of numbers a format says how many bits hold them, as OpenAPI does; that is no demand of JSON Schema.
      if (!shape_.allows(Shape::string)) return;
      const auto pattern = pattern_of_format(name);
      if (!pattern) fail(Fault::input, "{}: the format '{}' cannot be enforced", place_(), name);
      shape_.patterns.push_back(*pattern);
    }
  }

  void read_arrays() {
    shape_.least_items = count("minItems").value_or(0);
    shape_.most_items = count("maxItems").value_or(Automaton::kUnlimited);
    const SchemaJson* items = find("items");
    const SchemaJson* prefix = find("prefixItems");
    if (items != nullptr && items->is_array() && prefix == nullptr) std::swap(items, prefix);  // an old draft's form
    if (prefix != nullptr) {
      if (!prefix->is_array()) bad("prefixItems", "a list of schemas");
      for (const SchemaJson& item : *prefix) shape_.prefix.push_back({&item});
    }
    if (items != nullptr) shape_.items = {items};
  }

  void read_objects() {
    if (const SchemaJson* properties = find("properties")) {
      if (!properties->is_object()) bad("properties", "an object");
      if (properties->size() > kMaxProperties) bad("properties", fmt::format("at most {}", kMaxProperties));
      for (const auto& [name, schema] : properties->items()) shape_.properties.push_back({name, {&schema}});
    }
    if (const SchemaJson* required = find("required")) {
      const bool flag = required->is_boolean();  // an old draft's form, of a property; often left there
      if (!required->is_array() && !flag) bad("required", "a list of names");
      if (required->size() > kMaxProperties) bad("required", fmt::format("at most {} names", kMaxProperties));
      for (const SchemaJson& name : *required) {
        if (flag) break;
        if (!name.is_string()) bad("required", "a list of names");
        if (!shape_.requires_property(name)) shape_.required.push_back(name);
      }
    }
    if (const SchemaJson* additional = find("additionalProperties")) {
      shape_.additional = {additional};
      shape_.open = false;
    }
  }

  const SchemaJson& schema_;
  FunctionRef<std::string()> place_;
  Shape shape_;
};

bool is_false(const Schemas& schemas) {
  return std::any_of(schemas.begin(), schemas.end(), [](const SchemaJson* s) { return *s == false; });
}

void add_schemas(Schemas& into, const Schemas& more) {
  into.insert(into.end(), more.begin(), more.end());
  std::sort(into.begin(), into.end());
  into.erase(std::unique(into.begin(), into.end()), into.end());
}

void merge_arrays(Shape& into, const Shape& other) {
  into.least_items = std::max(into.least_items, other.least_items);
  into.most_items = std::min(into.most_items, other.most_items);
  for (size_t i = 0; i < std::max(into.prefix.size(), other.prefix.size()); ++i) {
    if (i == into.prefix.size()) into.prefix.push_back(into.items);
    add_schemas(into.prefix[i], i < other.prefix.size() ? other.prefix[i] : other.items);
  }
  add_schemas(into.items, other.items);
}

void merge_objects(Shape& into, const Shape& other) {
  for (Shape::Property& mine : into.properties) {
    const Shape::Property* theirs = other.property(mine.name);
    add_schemas(mine.schemas, theirs != nullptr ? theirs->schemas : other.additional);
  }
  const size_t n_mine = into.properties.size();
  for (const Shape::Property& theirs : other.properties) {
    const auto end = into.properties.begin() + static_cast<std::ptrdiff_t>(n_mine);
    if (std::any_of(into.properties.begin(), end, [&](const auto& p) { return p.name == theirs.name; })) continue;
    into.properties.push_back(theirs);
    add_schemas(into.properties.back().schemas, into.additional);
  }
  for (const std::string& name : other.required) {
    if (!into.requires_property(name)) into.required.push_back(name);
  }
  add_schemas(into.additional, other.additional);
  into.open = into.open && other.open;
}

// What tells alternatives apart in practice; the other keywords only make a shape smaller.
SchemaJson kind_of(const SchemaJson& schema) {
  SchemaJson kind = SchemaJson::object();
  for (const char* keyword : {"type", "enum", "const"}) {
    if (schema.is_object() && schema.contains(keyword)) kind[keyword] = schema[keyword];
  }
  return kind;
}

}  // namespace

const Shape::Property* Shape::property(const std::string& name) const {
  const auto found = std::find_if(properties.begin(), properties.end(), [&](const auto& p) { return p.name == name; });
  return found == properties.end() ? nullptr : &*found;
}

bool Shape::requires_property(const std::string& name) const {
  return std::find(required.begin(), required.end(), name) != required.end();
}

std::string Shape::key() const {
  std::string key = fmt::format("{} {} {} {} {}|", types, open, least_items, most_items, choices.has_value());
  const auto add = [&](const Schemas& schemas) {
    for (const SchemaJson* schema : schemas) key += fmt::format("{} ", fmt::ptr(schema));
    key += '|';
  };
  if (choices) add(*choices);
  for (const Schemas& item : prefix) add(item);
  add(items);
  add(additional);
  for (const Property& p : properties) {
    key += fmt::format("{}:{}", p.name.size(), p.name);
    add(p.schemas);
  }
  for (const std::string& name : required) key += fmt::format("{}:{}", name.size(), name);
  return key;
}

Shape read_shape(const SchemaJson& schema, FunctionRef<std::string()> place) { return Reader(schema, place).read(); }

bool merge(Shape& into, const Shape& other) {
  into.types &= other.types;
  if (into.choices && other.choices) {
    std::erase_if(*into.choices, [&](const SchemaJson* mine) {
      return std::none_of(other.choices->begin(), other.choices->end(),
                          [&](const SchemaJson* theirs) { return *mine == *theirs; });
    });
  } else if (other.choices) {
    into.choices = other.choices;
  }
  if (other.range.low) into.range.at_least(*other.range.low);
  if (other.range.high) into.range.at_most(*other.range.high);
  into.least_characters = std::max(into.least_characters, other.least_characters);
  into.most_characters = std::min(into.most_characters, other.most_characters);
  for (const std::string& pattern : other.patterns) {
    if (std::find(into.patterns.begin(), into.patterns.end(), pattern) == into.patterns.end()) {
      into.patterns.push_back(pattern);
    }
  }
  merge_arrays(into, other);
  merge_objects(into, other);
  return into.types != 0 && !(into.choices && into.choices->empty());
}

bool are_disjoint(const Shape& a, const Shape& b) {
  const auto none_fits = [](const Shape& chosen, const Shape& shape) {
    return chosen.choices && std::none_of(chosen.choices->begin(), chosen.choices->end(), [&](const SchemaJson* value) {
             if (shape.choices) {
               return std::any_of(shape.choices->begin(), shape.choices->end(),
                                  [&](const SchemaJson* other) { return *other == *value; });
             }
             return value->is_structured() || fits(*value, shape);
           });
  };
  if ((a.types & b.types) == 0 || none_fits(a, b) || none_fits(b, a)) return true;
  const uint8_t common = a.types & b.types;
  if ((common & ~(Shape::number | Shape::integer)) == 0) {
    const auto below = [](const NumberRange& x, const NumberRange& y) {
      if (!x.high || !y.low) return false;
      const int order = compare(x.high->value, y.low->value);
      return order < 0 || (order == 0 && (x.high->exclusive || y.low->exclusive));
    };
    return below(a.range, b.range) || below(b.range, a.range);
  }
  if (common != Shape::object) return false;
  const auto lacks = [](const Shape& one, const Shape& other) {
    return is_false(other.additional) && std::any_of(one.required.begin(), one.required.end(),
                                                     [&](const auto& name) { return other.property(name) == nullptr; });
  };
  if (lacks(a, b) || lacks(b, a)) return true;
  return std::any_of(a.properties.begin(), a.properties.end(), [&](const Shape::Property& mine) {
    const Shape::Property* theirs = b.property(mine.name);
    if (theirs == nullptr || !a.requires_property(mine.name) || !b.requires_property(mine.name)) return false;
    const SchemaJson x = kind_of(*mine.schemas[0]), y = kind_of(*theirs->schemas[0]);
    const auto place = [] { return std::string("an alternative of oneOf"); };
    return are_disjoint(read_shape(x, place), read_shape(y, place));
  });
}

bool fits(const SchemaJson& value, const Shape& shape) {
  if (value.is_null()) return shape.allows(Shape::null);
  if (value.is_boolean()) return shape.allows(Shape::boolean);
  if (value.is_number()) {
    const Decimal decimal = Decimal::of(value);
    const bool whole = decimal.fraction.empty();
    if (!shape.allows(Shape::number) && !(whole && shape.allows(Shape::integer))) return false;
    return shape.range.holds(decimal);
  }
  if (!value.is_string() || !shape.allows(Shape::string)) return false;
  int32_t n_characters = 0;
  for (const char c : value.get_ref<const std::string&>()) n_characters += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n_characters >= shape.least_characters && n_characters <= shape.most_characters;
}

}  // namespace flashmoe
