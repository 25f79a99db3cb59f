// What a tool's definition says of one argument, and the argument's text read by it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace flashmoe {

// The definition of the tool `name`, {"name": ..., "parameters": ...}, or null.
const nlohmann::ordered_json* tool_definition(const nlohmann::ordered_json& tools, const std::string& name);

// A parameter's schema: `type`, `enum`, `const`, `properties`, `required`, `items` and the bounds of numbers, through
// `$ref`, `allOf`, `anyOf` and `oneOf`. Other keywords ask for nothing here. Borrows the definition.
class ArgumentSchema {
 public:
  ArgumentSchema() = default;  // nothing is said
  // definition: of a tool; may be null. Its `parameters` are what `$ref` leads into.
  ArgumentSchema(const nlohmann::ordered_json* definition, const std::string& key);

  bool is_defined() const { return schema_ != nullptr; }
  // Every text is just text to the schema, so that a value is known before its end is: it lets nothing but strings be,
  // or asks for no type.
  bool is_plain_text() const;
  // The text as a value that the schema admits; where it may be a string and something else, the string comes last, as
  // a model writes it without quotes. Nothing when it has none of the types.
  std::optional<nlohmann::ordered_json> read(const std::string& text);
  // Of one of the types.
  bool has_type_of(const nlohmann::ordered_json& value) const;
  std::string types() const;  // "integer or null"

 private:
  using Json = nlohmann::ordered_json;
  struct Types {
    uint8_t bits;
    bool said;  // some keyword asked for a type
  };

  Types types_of(const Json& schema);
  bool admits(const Json& schema, const Json& value, int depth);
  bool fits_members(const Json& schema, const Json& value, int depth);
  const Json* referred(const Json& schema) const;
  const Json* property_in(const Json& schema, const std::string& key, int depth);

  const Json* root_ = nullptr;
  const Json* schema_ = nullptr;
  Types types_{0, false};
  std::vector<const Json*> entered_;  // schemas whose types are being asked for
  int n_looks_ = 0;                   // bounds the work
};

}  // namespace flashmoe
