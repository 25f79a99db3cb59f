// What one alternative of a JSON schema asks of a value.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "sampling/grammar/automaton.h"
#include "sampling/grammar/number_range.h"

namespace flashmoe {

// Schemas are borrowed from the document; several in a list must all hold.
using SchemaJson = nlohmann::ordered_json;
using Schemas = std::vector<const SchemaJson*>;

struct Shape {
  enum Type : uint8_t {
    null = 1,
    boolean = 2,
    integer = 4,
    number = 8,
    string = 16,
    array = 32,
    object = 64,
    all = 127
  };
  struct Property {
    std::string name;
    Schemas schemas;
  };

  uint8_t types = all;                                    // a bit each; number includes the integers
  std::optional<std::vector<const SchemaJson*>> choices;  // enum, const

  NumberRange range;

  int32_t least_characters = 0, most_characters = Automaton::kUnlimited;
  std::vector<std::string> patterns;  // of formats too

  std::vector<Schemas> prefix;  // the first items
  Schemas items;                // the further ones; none: anything
  int32_t least_items = 0, most_items = Automaton::kUnlimited;

  std::vector<Property> properties;  // in the order of the schema
  std::vector<std::string> required;
  Schemas additional;
  bool open = true;  // nothing is said about additional properties

  bool allows(Type type) const { return (types & type) != 0; }
  const Property* property(const std::string& name) const;
  bool requires_property(const std::string& name) const;
  // Says the same as another shape if and only if this is the same.
  std::string key() const;
};

// Reads what stands in one schema beside $ref, allOf, anyOf and oneOf. Throws Error{input} for what cannot be enforced;
// `place` is asked where that is.
Shape read_shape(const SchemaJson& schema, FunctionRef<std::string()> place);

// Both must hold. False when nothing can meet both; not complete.
bool merge(Shape& into, const Shape& other);

// That no value meets both can be seen.
bool are_disjoint(const Shape& a, const Shape& b);

// Whether a value that is no array or object has one of the shape's types and is within its range and lengths. Patterns
// are not looked at.
bool fits(const SchemaJson& value, const Shape& shape);

}  // namespace flashmoe
