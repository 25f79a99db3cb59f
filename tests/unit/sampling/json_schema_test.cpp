#include "sampling/grammar/json_schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "sampling/grammar.h"
#include "support/expect_error.h"
#include "support/token_tables.h"

namespace flashmoe {
namespace {

struct Case {
  std::string schema;
  std::vector<std::string> good, bad;
};

void check(const Case& c) {
  const auto grammar = Grammar::json_schema(byte_tokens(), c.schema);
  for (const std::string& text : c.good) EXPECT_TRUE(accepts(grammar, text)) << c.schema << " " << text;
  for (const std::string& text : c.bad) EXPECT_FALSE(accepts(grammar, text)) << c.schema << " " << text;
}

void refused(const std::string& schema, std::initializer_list<std::string_view> needles) {
  expect_error([&] { Grammar::json_schema(byte_tokens(), schema); }, Fault::input, needles);
}

TEST(JsonSchemaTest, Types) {
  check({R"({"type":"null"})", {"null"}, {"nul", "0", "\"null\""}});
  check({R"({"type":"boolean"})", {"true", "false"}, {"null", "tru"}});
  check({R"({"type":"integer"})",
         {"0", "-1", "123456789012345678"},
         {"-0", "01", "1.0", "1e3", "1234567890123456789", "-"}});
  check({R"({"type":"number"})", {"0", "-0.5", "12.25e-10", "3E+2"}, {"01", "1.", ".1", "1e999", "NaN"}});
  check({R"({"type":"string"})", {"\"\"", "\"a\\n\""}, {"a", "\"", "null"}});
  check({R"({"type":"array"})", {"[]", "[1, \"a\", [], {}]"}, {"{}", "[1,]"}});
  check({R"({"type":"object"})", {"{}", "{\"a\": [1]}"}, {"[]"}});
  check({R"({"type":["integer","null"]})", {"5", "null"}, {"\"\"", "true"}});
  check({"true", {"1", "[]", "{}", "\"a\""}, {""}});
  check({"{}", {"1", "[]", "{}", "\"a\""}, {""}});
}

TEST(JsonSchemaTest, ObjectsInTheOrderOfTheSchema) {
  const std::string schema =
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"}},"required":["b"],)"
      R"("additionalProperties":false})";
  check({schema,
         {R"({"b":""})", R"({"a":1,"b":"x"})", R"({"b":"x","c":null})", R"({"a":1,"b":"","c":null})",
          "{\n  \"a\": 1,\n  \"b\": \"\"\n}"},
         {R"({})", R"({"a":1})", R"({"b":"","a":1})", R"({"b":"","b":""})", R"({"b":"","d":1})", R"({"b":"",})",
          R"({"b":1})", R"({"a":1,,"b":""})"}});
}

TEST(JsonSchemaTest, AdditionalProperties) {
  // Where nothing is said of further properties, named ones are all there are.
  check({R"({"properties":{"a":{"type":"integer"}},"type":"object"})", {"{}", R"({"a":1})"}, {R"({"b":1})"}});
  check({R"({"properties":{"a":{"type":"integer"}},"additionalProperties":true,"type":"object"})",
         {"{}", R"({"a":1})", R"({"b":[]})", R"({"a":1,"b":1,"aa":"","":0})"},
         {R"({"a":""})", R"({"b":1,"a":""})", R"({"\u0061":""})"}});
  check(
      {R"({"additionalProperties":{"type":"integer"},"properties":{"é":{"type":"null"},"\"":true},"required":["é"],"type":"object"})",
       {R"({"é":null})", R"({"é":null,"\"":"","e":1})", R"({"é":null,"è":1})"},
       {R"({"é":1})", R"({"é":null,"e":""})", R"({"é":null,"é":1})", "{}"}});
  check({R"({"type":"object","required":["x"],"additionalProperties":{"type":"boolean"}})",
         {R"({"x":true,"y":false})"},
         {"{}", R"({"x":1})"}});
}

TEST(JsonSchemaTest, Arrays) {
  check({R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
         {"[1,2]", "[1, 2,3]", "[\n 1,\n 2\n]"},
         {"[]", "[1]", "[1,2,3,4]", "[1,\"\"]"}});
  check({R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
         {"[]", "[1]", "[1,\"\"]"},
         {"[\"\"]", "[1,2]", "[1,\"\",1]"}});
  check({R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":3})",
         {"[1,null,null]", "[1,null,null,null]"},
         {"[1,null]", "[null,null,null]"}});
  check({R"({"type":"array","items":{"type":"array","items":{"type":"boolean"}},"minItems":1})",
         {"[[]]", "[[true],[]]"},
         {"[]", "[true]"}});
  check({R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}});
}

TEST(JsonSchemaTest, EnumAndConst) {
  check({R"({"enum":["a","ab","ü\n",1,1.5,null,true,{"k":[1,"x"]},[]]})",
         {"\"a\"", "\"ab\"", R"("ü\n")", "1", "1.5", "null", "true", R"({"k": [1,"x"]})", "[]"},
         {"\"b\"", "2", "false", "{}", "[1]", R"({"k":[1]})", "\"abc\""}});
  check({R"({"const":{"a":1}})", {R"({"a":1})"}, {"{}", R"({"a":2})"}});
  check({R"({"type":"string","enum":["a",1,"abc"],"maxLength":2})", {"\"a\""}, {"1", "\"abc\""}});
  check({R"({"type":"integer","enum":[1,5,9],"minimum":4,"exclusiveMaximum":9})", {"5"}, {"1", "9"}});
}

TEST(JsonSchemaTest, StringLengths) {
  check({R"({"type":"string","minLength":2,"maxLength":3})",
         {"\"ab\"", "\"é😀\"", R"("\n\u00e9\ud83d\ude00")", "\"abc\""},
         {"\"a\"", "\"abcd\"", R"("\ud83d\ude00")", "\"\""}});
  check({R"({"type":"string","minLength":1})", {"\"a\"", "\"abcdef\""}, {"\"\""}});
  check({R"({"type":"string","maxLength":0})", {"\"\""}, {"\"a\""}});
}

TEST(JsonSchemaTest, Patterns) {
  check({R"({"type":"string","pattern":"^[a-c]{2,3}$"})", {"\"ab\"", "\"ccc\""}, {"\"a\"", "\"abcd\"", "\"abd\""}});
  check({R"({"type":"string","pattern":"b+"})", {"\"b\"", "\"xbby\""}, {"\"\"", "\"ac\""}});
  check({R"({"type":"string","pattern":"^(foo|ba[rz])?$|^\\d{3}-\\d{4}$"})",
         {"\"\"", "\"foo\"", "\"baz\"", "\"555-1234\""},
         {"\"bar1\"", "\"555\""}});
  check({R"({"type":"string","pattern":"^\\w+@\\w+\\.com$"})", {"\"a_1@b.com\""}, {"\"a@bcom\"", "\"@b.com\""}});
  check({R"({"type":"string","pattern":"^[^\"\\\\x]*$"})",
         {"\"a\"", "\"é😀\"", "\"\\n\""},
         {"\"x\"", R"("\"")", R"("\\")"}});
  check({R"({"type":"string","pattern":"^\"\\\\\\t$"})", {R"("\"\\\t")"}, {"\"\"", R"("\"\\\u0009")"}});
  check({R"({"type":"string","pattern":"^[а-яé-ü]+$"})", {"\"привет\"", "\"ü\""}, {"\"a\"", "\"ÿ\""}});
  check({R"({"type":"string","pattern":"^.$"})",
         {"\"a\"", "\"😀\"", "\"߿\"", "\"ࠀ\"", "\"￿\""},
         {"\"\"", R"("\n")", "\"ab\""}});
  check({R"({"type":"string","pattern":"^(?:a(?<n>b)*?)+?$"})", {"\"a\"", "\"abba\""}, {"\"b\""}});
  check({R"({"type":"string","pattern":"^a*$","minLength":2,"maxLength":3})",
         {"\"aa\"", "\"aaa\""},
         {"\"a\"", "\"aaaa\""}});
  check({R"({"type":"string","pattern":"^a","allOf":[{"pattern":"b$"}]})", {"\"ab\"", "\"axb\""}, {"\"a\"", "\"b\""}});
}

TEST(JsonSchemaTest, Formats) {
  const auto format = [](const std::string& name) { return R"({"type":"string","format":")" + name + "\"}"; };
  check({format("date"),
         {"\"2024-02-29\"", "\"2000-02-29\"", "\"2023-12-31\""},
         {"\"2023-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"0000-01-01\"", "\"2023-13-01\""}});
  check({format("time"), {"\"23:59:59Z\"", "\"00:00:00.5+01:00\""}, {"\"24:00:00Z\"", "\"00:00:00\""}});
  check({format("date-time"), {"\"2024-01-31T12:00:00Z\""}, {"\"2024-01-31\"", "\"2024-01-32T12:00:00Z\""}});
  check({format("uuid"), {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}});
  check({format("email"), {"\"a.b@c.example\""}, {"\"a@\"", "\".a@c.example\"", "\"a\""}});
  check({format("ipv4"), {"\"0.0.0.0\"", "\"255.199.9.10\""}, {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}});
  check({format("ipv6"), {"\"::1\"", "\"2001:db8:0:0:0:0:0:1\""}, {"\"1::2::3\"", "\"1:2\""}});
  check({format("hostname"), {"\"a\"", "\"a-b.example\""}, {"\"-a\"", "\"a..b\""}});
  check({format("duration"), {"\"P1Y\"", "\"PT5M\"", "\"P1Y2M3DT4H5M6S\"", "\"P3W\""}, {"\"P\"", "\"PT\"", "\"P1H\""}});
  check({format("uri"), {"\"https://a.example/x?y=%20#z\""}, {"\"a\"", "\"https://\"", "\"http://a/%2\""}});
  refused(format("idn-email"), {"#", "idn-email"});
}

TEST(JsonSchemaTest, IntegerRangesAreExact) {
  struct Range {
    int low, high;
  };
  for (const auto& [low, high] :
       {Range{0, 0}, {-5, 5}, {7, 123}, {-123, -7}, {-100, 1000}, {95, 105}, {0, 199}, {-1, 0}}) {
    const auto grammar = Grammar::json_schema(
        byte_tokens(), fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", low, high));
    const auto inner = Grammar::json_schema(
        byte_tokens(),
        fmt::format(R"({{"type":"integer","exclusiveMinimum":{},"exclusiveMaximum":{}}})", low - 1, high + 0.5));
    for (int n = -1300; n <= 1300; ++n) {
      const std::string text = fmt::format("{}", n);
      EXPECT_EQ(accepts(grammar, text), n >= low && n <= high) << low << " " << high << " " << n;
      EXPECT_EQ(accepts(inner, text), n >= low && n <= high) << low << " " << high << " " << n;
    }
  }
  check({R"({"type":"integer","minimum":1})", {"1", "999999999999999999"}, {"0", "-1", "01", "1.5"}});
  check({R"({"type":"integer","maximum":-10})", {"-10", "-11", "-999"}, {"-9", "0", "10"}});
  check({R"({"type":"integer","minimum":1e3,"maximum":1.5e3})", {"1000", "1500"}, {"999", "1501"}});
}

TEST(JsonSchemaTest, NumberRanges) {
  check({R"({"type":"number","minimum":0.25,"maximum":10})",
         {"0.25", "0.3", "1", "9.999", "10", "10.0"},
         {"0.2", "0", "0.249", "10.01", "11", "-1", "1e0"}});
  check({R"({"type":"number","exclusiveMinimum":-1.5,"exclusiveMaximum":2})",
         {"-1.4", "-1", "0", "0.0", "1.99"},
         {"-1.5", "-1.50", "2", "2.0", "-2", "-0"}});
  check({R"({"type":"number","minimum":0})", {"0", "0.5", "123456789012345"}, {"-0.5", "-0"}});
  check({R"({"type":["number","null"],"maximum":-0.001})", {"-0.001", "-1", "null"}, {"-0.0009", "0"}});
  check(
      {R"({"type":"number","exclusiveMinimum":0,"maximum":1})", {"0.1", "1", "0.00000000000001"}, {"0", "0.0", "1.1"}});
  check({R"({"type":"number","minimum":0,"exclusiveMaximum":1e-20})", {"0", "0.0"}, {"0.1"}});
  for (const char* bounds : {R"("minimum":1e15)", R"("maximum":-1e30)", R"("exclusiveMinimum":0,"maximum":1e-20)"}) {
    refused(fmt::format(R"({{"type":"number",{}}})", bounds), {"schema: ", "only numbers of more than 15 digits"});
  }
  for (const char* bounds : {R"("minimum":1e30)", R"("maximum":-1e18)", R"("minimum":1e18,"maximum":1e19)"}) {
    refused(fmt::format(R"({{"type":"integer",{}}})", bounds), {"schema: ", "only integers of more than 18 digits"});
  }
  // Bounds that contradict each other leave the other alternatives.
  check({R"({"anyOf":[{"type":"integer","minimum":1.2,"maximum":1.8},{"type":"null"}]})", {"null"}, {"1"}});
  check({R"({"anyOf":[{"type":"number","minimum":1e30,"maximum":1e29},{"type":"null"}]})", {"null"}, {"1"}});
}

TEST(JsonSchemaTest, AnyOfOneOfAllOf) {
  check({R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"1", "\"a\""}, {"\"ab\"", "null"}});
  check(
      {R"({"type":"object","properties":{"k":{"type":"integer"}},"anyOf":[{"properties":{"a":{"type":"null"}},"required":["a"]},{"required":["k"]}]})",
       {R"({"k":1,"a":null})", R"({"a":null})", R"({"k":1})"},
       {"{}", R"({"a":1})"}});
  // The alternatives share a beginning.
  check(
      {R"({"anyOf":[{"type":"object","properties":{"t":{"const":"aa"},"x":{"type":"integer"}},"required":["t","x"]},{"type":"object","properties":{"t":{"const":"ab"},"x":{"type":"string"}},"required":["t","x"]}]})",
       {R"({"t":"aa","x":1})", R"({"t":"ab","x":""})"},
       {R"({"t":"ab","x":1})", R"({"t":"aa","x":""})"}});
  check(
      {R"({"anyOf":[{"type":"array","items":{"type":"array","items":{"type":"integer"}}},{"type":"array","items":{"type":"array","items":{"type":"null"}}}]})",
       {"[[1],[2,3]]", "[[null],[]]", "[]"},
       {"[[1],[null]]", "[[1,null]]"}});
  check({R"({"oneOf":[{"type":"integer"},{"type":"string"}]})", {"1", "\"\""}, {"null"}});
  check(
      {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"}},"required":["t"]},{"type":"object","properties":{"t":{"enum":["b","c"]}},"required":["t"]}]})",
       {R"({"t":"a"})", R"({"t":"c"})"},
       {R"({"t":"d"})"}});
  check({R"({"oneOf":[{"type":"integer","maximum":3},{"type":"integer","minimum":4}]})", {"3", "4"}, {}});
  refused(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", {"#", "oneOf", "anyOf"});
  refused(R"({"properties":{"x":{"oneOf":[{"required":["a"]},{"required":["b"]}]}}})", {"#/properties/x", "oneOf"});
  check(
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"},"a":{"minimum":3}},"required":["b"]}]})",
       {R"({"a":3,"b":null})"},
       {R"({"a":2,"b":null})", R"({"a":3})"}});
  check({R"({"allOf":[{"enum":[1,2,3]},{"enum":[2,4]}]})", {"2"}, {"1", "4"}});
}

TEST(JsonSchemaTest, References) {
  check(
      {R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/n"})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{}})"}});
  check({R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}});
  check(
      {R"({"definitions":{"a/b~c":{"type":"null"}},"properties":{"x":{"$ref":"#/definitions/a~1b~0c","description":"d"}}, "type":"object"})",
       {R"({"x":null})"},
       {R"({"x":1})"}});
  refused(R"({"$ref":"#"})", {"#", "refers to itself"});
  refused(R"({"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"$ref":"#/$defs/a"})",
          {"#/$defs/a", "refers to itself"});
  refused(R"({"$ref":"#/nowhere"})", {"#/nowhere"});
  refused(R"({"$ref":"http://example.org/x"})", {"leads out"});
  // Objects that can never be whole.
  refused(R"({"type":"object","properties":{"x":{"$ref":"#"}},"required":["x"]})", {"no answer can meet"});
}

TEST(JsonSchemaTest, WhatCannotBeEnforcedIsRefusedByName) {
  for (const char* keyword : {"multipleOf", "patternProperties", "propertyNames", "minProperties", "maxProperties",
                              "not", "if", "contains", "dependentRequired", "unevaluatedProperties", "uniqueItems"}) {
    const std::string value = std::string_view(keyword) == "uniqueItems" ? "true" : "{}";
    refused(R"({"type":"object","properties":{"a/b":{"items":{")" + std::string(keyword) + "\":" + value + "}}}}",
            {"#/properties/a~1b/items", keyword});
  }
  check({R"({"type":"array","uniqueItems":false,"minProperties":0,"unevaluatedProperties":true})", {"[]"}, {}});
  check({R"({"$schema":"x","title":"t","description":"d","default":1,"examples":[1],"type":"integer","x-own":{}})",
         {"1"},
         {"null"}});
}

TEST(JsonSchemaTest, MalformedSchemas) {
  refused("", {"no JSON"});
  refused("{", {"no JSON"});
  refused("1", {"#", "must be an object"});
  refused(R"({"type":"strin"})", {"'type'"});
  refused(R"({"type":7})", {"'type'"});
  refused(R"({"properties":[]})", {"'properties'"});
  refused(R"({"required":"a"})", {"'required'"});
  refused(R"({"enum":1})", {"'enum'"});
  refused(R"({"enum":[]})", {"no answer can meet"});
  refused(R"({"minLength":-1})", {"'minLength'"});
  refused(R"({"minimum":"1"})", {"'minimum'"});
  refused(R"({"anyOf":{}})", {"'anyOf'"});
  refused(R"({"pattern":1})", {"'pattern'"});
  refused(R"({"type":"integer","minimum":3,"maximum":2})", {"no answer can meet"});
  refused("false", {"no answer can meet"});
  refused(R"({"type":"string","minLength":3,"maxLength":2})", {"no answer can meet"});
}

TEST(JsonSchemaTest, PatternsThatAreRefused) {
  const auto pattern = [](const std::string& text) { return R"({"type":"string","pattern":")" + text + "\"}"; };
  refused(pattern("a(?=b)"), {"look-around"});
  refused(pattern("(?<!b)a"), {"look-around"});
  refused(pattern("(a)\\\\1"), {"\\1"});
  refused(pattern("\\\\bfoo"), {"\\b"});
  refused(pattern("\\\\p{L}"), {"\\p"});
  refused(pattern("("), {"not closed"});
  refused(pattern(")"), {"no '('"});
  refused(pattern("[a"), {"ends too soon"});
  refused(pattern("*"), {"quantifier"});
  refused(pattern("a{2,1}"), {"out of order"});
  refused(pattern("a{100000}"), {"repeats more"});
  refused(pattern("[z-a]"), {"bad range"});
  refused(pattern("a$b"), {"no text matches"});
  refused(pattern("x^"), {"no text matches"});
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSecondsToParse = 60;
#else
constexpr int kSecondsToParse = 3;  // .03 where nothing else runs
#endif

// Lists of many small objects were looked through once for each of them.
TEST(JsonSchemaText, IsReadInTimeThatGrowsWithIt) {
  std::string list = "{}";
  while (list.size() < 900'000) list += ",{\"a\":1}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_schema("{\"examples\":[" + list + "]}", "schema")["examples"].size(), 112'501U);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(kSecondsToParse));
}

}  // namespace
}  // namespace flashmoe
