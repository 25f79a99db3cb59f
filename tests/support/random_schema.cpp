#include "support/random_schema.h"

#include <string>
#include <vector>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

class Schemas {
 public:
  explicit Schemas(Random& random) : random_(random) {}

  Json document() {
    Json schema = any(0);
    if (!schema.is_object()) schema = Json::object();
    for (int i = 0; i < kDefs; ++i)
      schema["$defs"]["d" + std::to_string(i)] = i == 0 ? list() : i == 1 ? tree() : any(3);
    return schema;
  }

 private:
  static constexpr int kDefs = 3;

  bool once_in(int n) { return random_.between(1, n) == 1; }

  Json any(int depth) {
    switch (random_.between(0, depth >= 4 ? 5 : 12)) {
      case 0:
        return once_in(2) ? Json{{"type", "boolean"}} : Json{{"type", "null"}};
      case 1:
      case 2:
        return number();
      case 3:
      case 4:
        return text();
      case 5:
        return choice();
      case 6:
        return combination(depth);
      case 7:
        return {{"$ref", "#/$defs/d" + std::to_string(random_.between(0, 1))}};
      case 8:
      case 9:
        return array(depth);
      default:
        return object(depth);
    }
  }

  Json number() {
    const bool whole = once_in(2);
    Json schema = {{"type", whole ? "integer" : "number"}};
    const int low = random_.between(-2000, 2000), high = low + random_.between(1, once_in(2) ? 20 : 4000);
    const auto bound = [&](int n) { return whole || once_in(2) ? Json(n) : Json(n + random_.between(1, 99) * 0.01); };
    if (once_in(2)) schema[once_in(3) ? "exclusiveMinimum" : "minimum"] = bound(low);
    if (once_in(2)) schema[once_in(3) ? "exclusiveMaximum" : "maximum"] = bound(high + 1);
    return schema;
  }

  Json text() {
    static const std::vector<std::string> kPatterns = {"^[a-z]{2,5}$",
                                                       "^(foo|bar|bazz)+$",
                                                       "[0-9]{3}",
                                                       "^x",
                                                       "y$",
                                                       "^[^a-z]*$",
                                                       "^\\d{1,3}(\\.\\d+)?$",
                                                       "^\\w+ \\w+$",
                                                       "a.b|c\\\\d",
                                                       "^(a|b(c|d)*)?[A-F]+$",
                                                       "^[\"\\\\/]+$",
                                                       "^$",
                                                       "^-?(0|[1-9]\\d*)$"};
    static const std::vector<std::string> kFormats = {"date", "date-time", "uuid", "ipv4"};
    Json schema = {{"type", "string"}};
    const int kind = random_.between(0, 5);
    if (kind == 0) schema["pattern"] = kPatterns[random_.below(kPatterns.size())];
    if (kind == 1) schema["format"] = kFormats[random_.below(kFormats.size())];
    if (kind == 2) schema["minLength"] = random_.between(0, 8);
    if (kind == 2 || kind == 3) schema["maxLength"] = random_.between(8, 30);
    return schema;
  }

  Json constant(int depth) {
    switch (random_.between(0, depth > 2 ? 4 : 6)) {
      case 0:
        return nullptr;
      case 1:
        return once_in(2);
      case 2:
        return random_.between(-100, 100);
      case 3:
        return random_.between(-100, 100) * 0.25;
      case 4:
        return std::vector<std::string>{
            "", "red", "green \"x\"", "gr\\een", "grün\n", "\xF0\x9F\x98\x80"}[random_.below(6)];
      case 5:
        return Json::array({constant(depth + 1), constant(depth + 1)});
      default:
        return {{"k", constant(depth + 1)}, {"l", constant(depth + 1)}};
    }
  }

  Json choice() {
    if (once_in(3)) return {{"const", constant(0)}};
    Json all = Json::array();
    for (int i = random_.between(1, 6); i > 0; --i) all.push_back(constant(0));
    return {{"enum", all}};
  }

  Json combination(int depth) {
    const int kind = random_.between(0, 3);
    if (kind == 0) return {{"type", Json::array({"integer", "null", "string"})}, {"maximum", 50}, {"maxLength", 5}};
    if (kind == 1) {  // told apart by a tag
      Json all = Json::array();
      for (int i = 0; i < 3; ++i) {
        Json one = object(depth + 1);
        one["properties"]["tag"] = {{"const", "t" + std::to_string(i)}};
        if (!one.contains("required")) one["required"] = Json::array();
        one["required"].push_back("tag");
        all.push_back(one);
      }
      return {{"oneOf", all}};
    }
    if (kind == 2) return {{"allOf", {object(depth + 1), object(depth + 1)}}};
    return {{"anyOf", {any(depth + 1), any(depth + 1), any(depth + 1)}}};
  }

  Json array(int depth) {
    Json schema = {{"type", "array"}};
    if (!once_in(4)) schema["items"] = any(depth + 1);
    if (once_in(4)) schema["prefixItems"] = {any(depth + 1), any(depth + 1)};
    if (once_in(3)) schema["minItems"] = random_.between(0, 3);
    if (once_in(2)) schema["maxItems"] = random_.between(3, 6);
    return schema;
  }

  Json object(int depth) {
    static const std::vector<std::string> kNames = {"a", "ab", "name", "a b", "\"q\"", "größe", "x\\y", "id", ""};
    Json schema = {{"type", "object"}};
    for (int i = random_.between(0, 4); i > 0; --i) {
      const std::string& name = kNames[random_.below(kNames.size())];
      if (schema.contains("properties") && schema["properties"].contains(name)) continue;
      schema["properties"][name] = any(depth + 1);
      if (once_in(2)) schema["required"].push_back(name);
    }
    if (once_in(2)) schema["additionalProperties"] = once_in(2) ? Json(once_in(2)) : number();
    return schema;
  }

  Json list() {
    return {{"type", "object"},
            {"properties", {{"v", number()}, {"next", {{"anyOf", {{{"$ref", "#/$defs/d0"}}, {{"type", "null"}}}}}}}},
            {"required", {"v", "next"}},
            {"additionalProperties", false}};
  }
  Json tree() {
    return {{"type", "array"}, {"items", {{"anyOf", {{{"$ref", "#/$defs/d1"}}, text()}}}}, {"maxItems", 3}};
  }

  Random& random_;
};

}  // namespace

Json random_schema(Random& random) { return Schemas(random).document(); }

}  // namespace flashmoe
