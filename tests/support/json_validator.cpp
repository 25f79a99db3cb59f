#include "support/json_validator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <regex>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

bool has_type(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "number") return value.is_number();
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
  }
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

long double number(const Json& value) {
  if (value.is_number_unsigned()) return static_cast<long double>(value.get<uint64_t>());
  if (value.is_number_integer()) return static_cast<long double>(value.get<int64_t>());
  return static_cast<long double>(value.get<double>());
}

bool is_date(const std::string& text) {
  int year = 0, month = 0, day = 0;
  char rest = 0;
  if (text.size() != 10 || std::sscanf(text.c_str(), "%4d-%2d-%2d%c", &year, &month, &day, &rest) != 3) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  const int days[] = {31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

bool has_format(const std::string& text, const std::string& format) {
  static const std::regex kTime(R"(([0-9]{2}):([0-9]{2}):[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))");
  static const std::regex kUuid("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
  if (format == "date") return is_date(text);
  if (format == "date-time") return is_date(text.substr(0, 10)) && std::regex_match(text.substr(11), kTime);
  if (format == "uuid") return std::regex_match(text, kUuid);
  if (format == "ipv4") {
    int b[4];
    char rest = 0;
    if (std::sscanf(text.c_str(), "%d.%d.%d.%d%c", b, b + 1, b + 2, b + 3, &rest) != 4) return false;
    return std::all_of(b, b + 4, [](int byte) { return byte >= 0 && byte < 256; }) &&
           text == fmt::format("{}.{}.{}.{}", b[0], b[1], b[2], b[3]);
  }
  return false;
}

class Validation {
 public:
  Validation(const Json& document, std::string& why) : document_(document), why_(why) {}

  bool check(const Json& schema, const Json& value) {
    if (schema.is_boolean()) return schema.get<bool>() || no("false", value);
    return choices(schema, value) && combinations(schema, value) && numbers(schema, value) && strings(schema, value) &&
           arrays(schema, value) && objects(schema, value);
  }

 private:
  bool no(const std::string& keyword, const Json& value) {
    why_ = keyword + " does not hold for " + value.dump().substr(0, 200);
    return false;
  }

  bool choices(const Json& schema, const Json& value) {
    if (schema.contains("type")) {
      const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
      if (std::none_of(types.begin(), types.end(), [&](const Json& t) { return has_type(value, t); }))
        return no("type", value);
    }
    if (schema.contains("const") && schema["const"] != value) return no("const", value);
    if (!schema.contains("enum")) return true;
    const Json& all = schema["enum"];
    return std::find(all.begin(), all.end(), value) != all.end() || no("enum", value);
  }

  bool combinations(const Json& schema, const Json& value) {
    if (schema.contains("$ref")) {
      const Json& target = document_.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1)));
      if (!check(target, value)) return false;
    }
    for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
      if (!schema.contains(keyword)) continue;
      size_t n = 0;
      for (const Json& inner : schema[keyword]) n += check(inner, value);
      const std::string name = keyword;
      if (name == "allOf" ? n < schema[keyword].size() : name == "anyOf" ? n == 0 : n != 1) return no(keyword, value);
    }
    return true;
  }

  bool numbers(const Json& schema, const Json& value) {
    if (!value.is_number()) return true;
    const long double x = number(value);
    if (schema.contains("minimum") && x < number(schema["minimum"])) return no("minimum", value);
    if (schema.contains("maximum") && x > number(schema["maximum"])) return no("maximum", value);
    if (schema.contains("exclusiveMinimum") && x <= number(schema["exclusiveMinimum"]))
      return no("exclusiveMinimum", value);
    if (schema.contains("exclusiveMaximum") && x >= number(schema["exclusiveMaximum"]))
      return no("exclusiveMaximum", value);
    return true;
  }

  bool strings(const Json& schema, const Json& value) {
    if (!value.is_string()) return true;
    const auto& text = value.get_ref<const std::string&>();
    const auto n =
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
    if (schema.contains("minLength") && n < schema["minLength"].get<int>()) return no("minLength", value);
    if (schema.contains("maxLength") && n > schema["maxLength"].get<int>()) return no("maxLength", value);
    if (schema.contains("pattern") && !std::regex_search(text, std::regex(schema["pattern"].get<std::string>()))) {
      return no("pattern", value);
    }
    return !schema.contains("format") || has_format(text, schema["format"]) || no("format", value);
  }

  bool arrays(const Json& schema, const Json& value) {
    if (!value.is_array()) return true;
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>()) return no("minItems", value);
    if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<size_t>()) return no("maxItems", value);
    const size_t n_prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
    for (size_t i = 0; i < value.size(); ++i) {
      if (i < n_prefix && !check(schema["prefixItems"][i], value[i])) return false;
      if (i >= n_prefix && schema.contains("items") && !check(schema["items"], value[i])) return false;
    }
    return true;
  }

  bool objects(const Json& schema, const Json& value) {
    if (!value.is_object()) return true;
    const Json none = Json::object();
    const Json& properties = schema.contains("properties") ? schema["properties"] : none;
    if (schema.contains("required")) {
      for (const Json& name : schema["required"]) {
        if (!value.contains(name.get<std::string>())) return no("required", value);
      }
    }
    for (const auto& [name, inner] : value.items()) {
      if (properties.contains(name) && !check(properties[name], inner)) return false;
      if (!properties.contains(name) && schema.contains("additionalProperties") &&
          !check(schema["additionalProperties"], inner)) {
        return false;
      }
    }
    return true;
  }

  const Json& document_;
  std::string& why_;
};

}  // namespace

bool validates(const Json& schema, const Json& value, const Json& document, std::string& why) {
  return Validation(document, why).check(schema, value);
}

}  // namespace flashmoe
