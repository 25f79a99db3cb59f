#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "sampling/grammar.h"
#include "support/expect_error.h"
#include "support/json_validator.h"
#include "support/token_tables.h"
#include "text/tool_calls.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

const std::string kTools = R"([
  {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
                   "unit": {"type": "string", "enum": ["C", "F"]}, "where": {"type": "object",
                   "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
    "required": ["city"]}}},
  {"name": "now", "parameters": {"type": "object", "properties": {}}},
  {"name": "stop"}])";

std::shared_ptr<const Grammar> call(std::string_view name = "", bool several = false,
                                    const std::string& tools = kTools) {
  return Grammar::tool_call(byte_tokens(), tools, name, several);
}

std::string written(const std::string& name, const std::string& parameters) {
  return "<tool_call>\n<function=" + name + ">\n" + parameters + "</function>\n</tool_call>";
}
std::string parameter(const std::string& key, const std::string& value) {
  return "<parameter=" + key + ">\n" + value + "\n</parameter>\n";
}

TEST(ToolCallGrammarTest, ParametersAsTheToolNamesThem) {
  const auto grammar = call();
  const auto city = parameter("city", "Paris");
  EXPECT_TRUE(accepts(grammar, written("get_weather", city)));
  EXPECT_TRUE(accepts(grammar, written("get_weather", city + parameter("days", "14") + parameter("unit", "F"))));
  EXPECT_TRUE(accepts(grammar, written("get_weather", city + parameter("where", "{\"lat\": 1.5}"))));
  EXPECT_TRUE(accepts(grammar, written("get_weather", parameter("city", ""))));
  EXPECT_TRUE(
      accepts(grammar, written("get_weather", parameter("city", "a\n\"b\" </b> <parameter=x>\n\té </paramete"))));
  EXPECT_TRUE(accepts(grammar, written("now", "")));
  EXPECT_TRUE(accepts(grammar, written("stop", "")));

  EXPECT_FALSE(accepts(grammar, written("get_weather", "")));
  EXPECT_FALSE(accepts(grammar, written("get_weather", parameter("days", "3"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", city + parameter("days", "15"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", city + parameter("unit", "K"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", city + parameter("where", "{}"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", parameter("days", "3") + city)));
  EXPECT_FALSE(accepts(grammar, written("get_weather", city + city)));
  EXPECT_FALSE(accepts(grammar, written("get_weather", parameter("city", "a</parameter>b"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", parameter("city", "a</think>b"))));
  EXPECT_FALSE(accepts(grammar, written("get_weather", parameter("city", "\xFF"))));
  EXPECT_FALSE(accepts(grammar, written("now", city)));
  EXPECT_FALSE(accepts(grammar, written("nowhere", "")));
  EXPECT_FALSE(accepts(grammar, "Let me see. " + written("now", "")));
}

TEST(ToolCallGrammarTest, OneToolOrAny) {
  EXPECT_TRUE(accepts(call("now"), written("now", "")));
  EXPECT_FALSE(accepts(call("now"), written("stop", "")));
  expect_error([] { call("other"); }, Fault::input, {"'other'", "no tool has that name"});
  expect_error([] { call("", false, "[]"); }, Fault::input, {"no tools"});
  expect_error([] { call("", false, R"([{"type":"function"}])"); }, Fault::input, {"no name"});
  expect_error([] { call("", false, R"([{"name":"a b"}])"); }, Fault::input, {"'a b'"});
  expect_error([] { call("", false, R"([{"name":"a","parameters":{"properties":{"p":{"multipleOf":2}}}}])"); },
               Fault::input, {"schema of tool a at #/properties/p: 'multipleOf'"});
  expect_error([] { call("", false, R"([{"name":"a","parameters":{"properties":5}}])"); }, Fault::input,
               {"schema of tool a at #: 'properties'"});
  expect_error([] { call("", false, R"([{"name":"a","parameters":{"type":"object","required":["x"]}}])"); },
               Fault::input, {"schema of tool a: the required parameter 'x'"});
  expect_error(
      [] { call("", false, R"([{"name":"a","parameters":{"properties":{"p":{"type":"string","pattern":"("}}}}])"); },
      Fault::input, {"schema of tool a: the pattern '('"});
}

TEST(ToolCallGrammarTest, OneCallOrSeveral) {
  const std::string two = written("now", "") + "\n" + written("stop", "");
  EXPECT_TRUE(accepts(call("", true), two));
  EXPECT_FALSE(accepts(call("", false), two));
  EXPECT_TRUE(accepts(call("", true), written("now", "")));
}

TEST(ToolCallGrammarTest, MarksAreTheirTokens) {
  const auto tokens = byte_tokens();
  GrammarState state(Grammar::tool_call(tokens, kTools, "", false));
  EXPECT_FALSE(state.allows('<'));
  EXPECT_FALSE(state.allows(*tokens->added_token("</tool_call>")));
  EXPECT_TRUE(state.allows(*tokens->added_token("<tool_call>")));
  std::vector<float> logits(static_cast<size_t>(tokens->size()), 0.0f);
  state.mask(logits);
  for (int32_t id = 0; id < tokens->size(); ++id) {
    EXPECT_EQ(logits[static_cast<size_t>(id)] == 0, id == tokens->added_token("<tool_call>")) << id;
  }
}

// A vocabulary may not have the marks: then they are spelled.
TEST(ToolCallGrammarTest, MarksAreSpelledWhereThereAreNoTokens) {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  texts.emplace_back("<end>");
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const std::vector<uint8_t> added(texts.size());
  const std::vector<int32_t> ends = {256};
  const auto tokens = std::make_shared<const TokenTrie>(TokenTable{views, added, ends});
  EXPECT_TRUE(accepts(Grammar::tool_call(tokens, kTools, "", false), written("now", "")));
}

TEST(ToolCallGrammarTest, ValuesThatMayBeTextAreText) {
  const std::string tools =
      R"([{"name":"f","parameters":{"properties":{"a":{"type":["string","object","null"]},"b":{},"c":{"pattern":"^x+$","type":["string","integer"]}}}}])";
  const auto grammar = call("f", false, tools);
  EXPECT_TRUE(
      accepts(grammar, written("f", parameter("a", "{ not json") + parameter("b", "free") + parameter("c", "xx"))));
  EXPECT_TRUE(accepts(grammar, written("f", parameter("c", "7"))));
  EXPECT_FALSE(accepts(grammar, written("f", parameter("c", "7x"))));
}

TEST(ToolCallGrammarTest, RandomCallsAreReadAsValid) {
  Random random(2);
  const auto tools = nlohmann::ordered_json::parse(kTools);
  const auto grammar = Grammar::tool_call(tokens_of(*spark_tokenizer()), kTools, "", true);
  size_t n_calls = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string text = random_answer(grammar, random, random.between(0, 200));
    const ToolCalls read = parse_tool_calls(text, tools);
    EXPECT_TRUE(read.valid() && !read.calls.empty()) << text.substr(0, 1000);
    n_calls += read.calls.size();
  }
  EXPECT_GT(n_calls, 100u);
}

// The grammar writes, and the reader reads, values of combined schemas as the same JSON.
TEST(ToolCallGrammarTest, RandomValuesOfCombinedSchemasAreReadAsTheSchemaHasThem) {
  const auto parameters = Json::parse(R"({"$defs":{"point":{"type":"object","properties":
    {"y":{"type":"integer"}},"required":["y"]}},"properties":{
    "a":{"anyOf":[{"type":"integer"},{"type":"null"}]}, "b":{"$ref":"#/$defs/point"}, "c":{"enum":["1",2,null]},
    "d":{"oneOf":[{"type":"string","maxLength":3},{"type":"integer","minimum":0,"maximum":10}]},
    "e":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/point"}]}, "f":{"const":true},
    "g":{"allOf":[{"type":["number","string"]},{"type":["number","array"]}]}},
    "required":["a","b","c","d","e","f","g"]})");
  const Json tools = {{{"name", "f"}, {"parameters", parameters}}};
  Random random(3);
  const auto grammar = Grammar::tool_call(tokens_of(*spark_tokenizer()), tools.dump(), "f", false);
  for (int i = 0; i < 100; ++i) {
    const std::string text = random_answer(grammar, random, random.between(0, 200));
    const ToolCalls read = parse_tool_calls(text, tools);
    ASSERT_TRUE(read.valid() && read.calls.size() == 1) << text.substr(0, 1000);
    std::string why;
    EXPECT_TRUE(validates(parameters, Json::parse(read.calls[0].arguments), parameters, why))
        << why << ": " << read.calls[0].arguments;
  }
}

std::shared_ptr<const Grammar> json_call(std::string_view name = "", bool several = false,
                                         const std::string& tools = kTools) {
  return Grammar::tool_call(byte_tokens(), tools, name, several, CallForm::json);
}
std::string json_written(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}\n</tool_call>";
}

TEST(ToolCallGrammarTest, JsonCallsObeyTheToolsSchema) {
  const auto grammar = json_call();
  for (const char* arguments : {R"({"city": "Paris"})", R"({"city":"","days":14,"unit":"F"})",
                                R"({"city": "</tool_call> {", "where": {"lat": 1.5}})"}) {
    EXPECT_TRUE(accepts(grammar, json_written("get_weather", arguments))) << arguments;
  }
  for (const char* arguments : {"{}", R"({"days": 3})", R"({"city": "x", "days": 15})", R"({"city": 5})", "[]",
                                R"({"city": "x", "more": 1})", R"({"city": "x", "city": "x"})", "null"}) {
    EXPECT_FALSE(accepts(grammar, json_written("get_weather", arguments))) << arguments;
  }
  EXPECT_TRUE(accepts(grammar, json_written("stop", "{}")));
  EXPECT_FALSE(accepts(grammar, json_written("stop", R"({"x":1})")));
  EXPECT_FALSE(accepts(grammar, json_written("nowhere", "{}")));
  EXPECT_FALSE(accepts(grammar, written("stop", "")));
  EXPECT_FALSE(accepts(call(), json_written("stop", "{}")));
}

TEST(ToolCallGrammarTest, JsonCallsOfOneToolOrAnyOnceOrMore) {
  const std::string two = json_written("stop", "{}") + "\n" + json_written("now", "{}");
  EXPECT_TRUE(accepts(json_call("", true), two));
  EXPECT_FALSE(accepts(json_call("", false), two));
  EXPECT_TRUE(accepts(json_call("now"), json_written("now", "{}")));
  EXPECT_FALSE(accepts(json_call("now"), json_written("stop", "{}")));
  EXPECT_TRUE(accepts(json_call("", false, R"([{"name":"a\"b"}])"), json_written("a\\\"b", "{}")));
  const std::string text_or_list =
      R"([{"name":"f","parameters":{"properties":{"x":{"anyOf":[{"type":"string"},{"type":"array"}]}}}}])";
  EXPECT_TRUE(accepts(json_call("f", false, text_or_list), json_written("f", R"({"x": ["a"]})")));
  EXPECT_TRUE(accepts(json_call("f", false, text_or_list), json_written("f", R"({"x": "a"})")));
  expect_error([] { json_call("other"); }, Fault::input, {"'other'", "no tool has that name"});
  expect_error([] { json_call("", false, R"([{"name":"a","parameters":{"type":"string"}}])"); }, Fault::input,
               {"no answer can meet the schema"});
}

TEST(ToolCallGrammarTest, RandomJsonCallsAreReadAsValid) {
  Random random(4);
  const auto tools = Json::parse(kTools);
  const auto grammar = Grammar::tool_call(tokens_of(*spark_tokenizer()), kTools, "", true, CallForm::json);
  size_t n_calls = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string text = random_answer(grammar, random, random.between(0, 200));
    const ToolCalls read = parse_tool_calls(text, tools);
    ASSERT_TRUE(read.well_formed() && !read.calls.empty()) << text.substr(0, 1000);
    n_calls += read.calls.size();
    for (const ParsedCall& call : read.calls) {
      const Json* parameters = call.name == "get_weather" ? &tools[0]["function"]["parameters"] : nullptr;
      std::string why;
      if (parameters == nullptr) continue;
      EXPECT_TRUE(validates(*parameters, Json::parse(call.arguments), *parameters, why)) << why << call.arguments;
    }
  }
  EXPECT_GT(n_calls, 100u);
}

}  // namespace
}  // namespace flashmoe
