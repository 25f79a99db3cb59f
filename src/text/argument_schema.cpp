#include "text/argument_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpace = " \t\r\n";
constexpr int kMostLooks = 10'000;  // at schemas; requests are hostile
constexpr int kMostDepth = 200;
constexpr int kMostNesting = 128;  // of a value

enum Type : uint8_t { null = 1, boolean = 2, integer = 4, number = 8, array = 16, object = 32, string = 64, all = 127 };

constexpr std::pair<std::string_view, uint8_t> kTypes[] = {
    {"null", null},   {"boolean", boolean}, {"integer", integer}, {"number", number | integer},
    {"array", array}, {"object", object},   {"string", string}};

const Json* member(const Json* object, const std::string& key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto found = object->find(key);
  return found == object->end() ? nullptr : &*found;
}

uint8_t type_named(const Json& name) {
  const auto found = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return name == t.first; });
  return found == std::end(kTypes) ? uint8_t{0} : found->second;
}

uint8_t type_of(const Json& value) {
  if (value.is_null()) return null;
  if (value.is_boolean()) return boolean;
  if (value.is_number_integer()) return integer;
  if (value.is_number()) return number;
  if (value.is_array()) return array;
  return value.is_object() ? object : string;
}

uint8_t types_named(const Json& type) {
  if (!type.is_array()) return type_named(type);
  uint8_t bits = 0;
  for (const Json& one : type) bits |= type_named(one);
  return bits;
}

// Old drafts have flags for the exclusive bounds.
bool within_bounds(const Json& schema, const Json& value) {
  if (!value.is_number()) return true;
  const auto bound = [&](const char* key) -> const Json* {
    const Json* found = member(&schema, key);
    return found != nullptr && found->is_number() ? found : nullptr;
  };
  const auto flag = [&](const char* key) {
    const Json* found = member(&schema, key);
    return found != nullptr && found->is_boolean() && found->get<bool>();
  };
  const Json *least = bound("minimum"), *most = bound("maximum");
  if (least != nullptr && (value < *least || (flag("exclusiveMinimum") && value == *least))) return false;
  if (most != nullptr && (value > *most || (flag("exclusiveMaximum") && value == *most))) return false;
  const Json *above = bound("exclusiveMinimum"), *below = bound("exclusiveMaximum");
  return (above == nullptr || value > *above) && (below == nullptr || value < *below);
}

// The text as something that is no string.
std::optional<Json> value_in(const std::string& text) {
  const size_t start = text.find_first_not_of(kSpace);
  if (start == std::string::npos) return std::nullopt;
  const std::string bare = text.substr(start, text.find_last_not_of(kSpace) + 1 - start);
  if (bare == "True") return Json(true);
  if (bare == "False") return Json(false);
  if (bare == "None") return Json(nullptr);
  bool is_deep = false;
  const auto is_shallow = [&](int depth, Json::parse_event_t, Json&) { return !(is_deep |= depth > kMostNesting); };
  Json value = Json::parse(bare, is_shallow, false);
  if (is_deep || value.is_discarded() || value.is_string()) return std::nullopt;
  return value;
}

}  // namespace

const Json* tool_definition(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    const Json* inner = member(&tool, "function");
    const Json* function = inner != nullptr ? inner : &tool;
    const Json* named = member(function, "name");
    if (named != nullptr && named->is_string() && named->get_ref<const std::string&>() == name) return function;
  }
  return nullptr;
}

ArgumentSchema::ArgumentSchema(const Json* definition, const std::string& key)
    : root_(member(definition, "parameters")) {
  if (root_ == nullptr) return;
  schema_ = property_in(*root_, key, 0);
  n_looks_ = 0;
  if (schema_ != nullptr) types_ = types_of(*schema_);
}

const Json* ArgumentSchema::referred(const Json& schema) const {
  const Json* ref = member(&schema, "$ref");
  if (ref == nullptr || !ref->is_string() || !ref->get_ref<const std::string&>().starts_with('#')) return nullptr;
  try {
    const auto way = Json::json_pointer(ref->get_ref<const std::string&>().substr(1));
    return root_->contains(way) ? &root_->at(way) : nullptr;
  } catch (const Json::exception&) {
    return nullptr;
  }
}

const Json* ArgumentSchema::property_in(const Json& schema, const std::string& key, int depth) {
  if (depth > kMostDepth || ++n_looks_ > kMostLooks) return nullptr;
  const Json* found = member(member(&schema, "properties"), key);
  if (found != nullptr) return found;
  if (const Json* there = referred(schema); there != nullptr) found = property_in(*there, key, depth + 1);
  for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
    const Json* parts = member(&schema, keyword);
    if (parts == nullptr || !parts->is_array()) continue;
    for (const Json& part : *parts) {
      if (found == nullptr) found = property_in(part, key, depth + 1);
    }
  }
  return found;
}

ArgumentSchema::Types ArgumentSchema::types_of(const Json& schema) {
  const Types nothing{all, false};
  if (schema.is_boolean()) return schema.get<bool>() ? nothing : Types{0, true};
  const bool inside = std::find(entered_.begin(), entered_.end(), &schema) != entered_.end();
  if (!schema.is_object() || inside || entered_.size() > kMostDepth || ++n_looks_ > kMostLooks) return nothing;
  entered_.push_back(&schema);
  Types types = nothing;
  const auto both = [&](Types other) { types = {uint8_t(types.bits & other.bits), types.said || other.said}; };
  if (const Json* type = member(&schema, "type")) both({types_named(*type), true});
  if (const Json* value = member(&schema, "const")) both({type_of(*value), true});
  if (const Json* choices = member(&schema, "enum"); choices != nullptr && choices->is_array()) {
    uint8_t bits = 0;
    for (const Json& choice : *choices) bits |= type_of(choice);
    both({bits, true});
  }
  if (const Json* there = referred(schema)) both(types_of(*there));
  if (const Json* parts = member(&schema, "allOf"); parts != nullptr && parts->is_array()) {
    for (const Json& part : *parts) both(types_of(part));
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const Json* parts = member(&schema, keyword);
    if (parts == nullptr || !parts->is_array()) continue;
    Types any{0, true};
    for (const Json& part : *parts) {
      const Types one = types_of(part);
      any = {uint8_t(any.bits | one.bits), any.said && one.said};
    }
    both(any);
  }
  entered_.pop_back();
  return types;
}

bool ArgumentSchema::is_plain_text() const { return !types_.said || (types_.bits & ~string) == 0; }

bool ArgumentSchema::has_type_of(const Json& value) const {
  return !types_.said || types_.bits == 0 || (types_.bits & type_of(value)) != 0;
}

std::string ArgumentSchema::types() const {
  std::vector<std::string_view> names;
  const bool any_number = (types_.bits & number) != 0;
  for (const auto& [name, bits] : kTypes) {
    const bool listed = (bits & number) != 0 ? any_number : (types_.bits & bits) != 0;
    if (listed && !(bits == integer && any_number)) names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, " or "));
}

std::optional<Json> ArgumentSchema::read(const std::string& text) {
  if (is_plain_text()) return Json(text);
  n_looks_ = 0;
  auto value = value_in(text);
  if (value && (types_.bits & type_of(*value)) == 0) value.reset();
  const bool may_be_text = (types_.bits & string) != 0;
  if (value && (!may_be_text || admits(*schema_, *value, 0))) return value;
  return may_be_text ? std::optional<Json>(text) : std::nullopt;
}

bool ArgumentSchema::admits(const Json& schema, const Json& value, int depth) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (!schema.is_object() || depth > kMostDepth || ++n_looks_ > kMostLooks) return true;
  if (const Json* type = member(&schema, "type"); type != nullptr && (types_named(*type) & type_of(value)) == 0) {
    return false;
  }
  if (const Json* only = member(&schema, "const"); only != nullptr && *only != value) return false;
  if (const Json* choices = member(&schema, "enum"); choices != nullptr && choices->is_array()) {
    if (std::find(choices->begin(), choices->end(), value) == choices->end()) return false;
  }
  if (!within_bounds(schema, value) || !fits_members(schema, value, depth)) return false;
  if (const Json* there = referred(schema); there != nullptr && !admits(*there, value, depth + 1)) return false;
  const auto holds = [&](const Json& part) { return admits(part, value, depth + 1); };
  const Json* parts = member(&schema, "allOf");
  if (parts != nullptr && parts->is_array() && !std::all_of(parts->begin(), parts->end(), holds)) return false;
  for (const char* keyword : {"anyOf", "oneOf"}) {
    parts = member(&schema, keyword);
    if (parts != nullptr && parts->is_array() && std::none_of(parts->begin(), parts->end(), holds)) return false;
  }
  return true;
}

bool ArgumentSchema::fits_members(const Json& schema, const Json& value, int depth) {
  const Json* items = member(&schema, "items");
  if (value.is_array() && items != nullptr) {
    return std::all_of(value.begin(), value.end(), [&](const Json& item) { return admits(*items, item, depth + 1); });
  }
  if (!value.is_object()) return true;
  if (const Json* required = member(&schema, "required"); required != nullptr && required->is_array()) {
    for (const Json& name : *required) {
      if (name.is_string() && !value.contains(name.get_ref<const std::string&>())) return false;
    }
  }
  const Json* properties = member(&schema, "properties");
  const Json* additional = member(&schema, "additionalProperties");
  for (const auto& [name, inner] : value.items()) {
    const Json* property = member(properties, name);
    if (property == nullptr) property = additional;
    if (property != nullptr && !admits(*property, inner, depth + 1)) return false;
  }
  return true;
}

}  // namespace flashmoe
