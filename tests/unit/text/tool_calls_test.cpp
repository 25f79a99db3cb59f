#include "text/tool_calls.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/test_data.h"
#include "text/call_reader.h"
#include "text/chat_template.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

const Json kTools =
    Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
  "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
  "o": {"type": "object"}, "l": {"type": "array"}, "u": {"type": ["string", "integer", "null"]}, "any": {}}}}},
  {"name": "bare"}])");

std::string parameter(const std::string& key, const std::string& value) {
  return "<parameter=" + key + ">\n" + value + "\n</parameter>\n";
}
std::string call(const std::string& name, const std::string& parameters) {
  return "<tool_call>\n<function=" + name + ">\n" + parameters + "</function>\n</tool_call>";
}

std::string arguments(const std::string& parameters) {
  const ToolCalls parsed = parse_tool_calls(call("f", parameters), kTools);
  if (!parsed.well_formed()) return parsed.faults[0];
  if (!parsed.valid()) return parsed.misfits[0] + ": " + parsed.calls.at(0).arguments;
  return parsed.calls.at(0).arguments;
}

TEST(ToolCalls, ValuesTakeTheirSchemasType) {
  EXPECT_EQ(arguments(parameter("s", "12") + parameter("i", "12") + parameter("n", "1.5")),
            R"({"s":"12","i":12,"n":1.5})");
  EXPECT_EQ(arguments(parameter("b", "True") + parameter("l", "[1, \"x\"]") + parameter("o", "{\"z\": 1, \"a\": 2}")),
            R"({"b":true,"l":[1,"x"],"o":{"z":1,"a":2}})");
  EXPECT_EQ(arguments(parameter("u", "None")), R"({"u":null})");
  EXPECT_EQ(arguments(parameter("u", "7")), R"({"u":7})");
  EXPECT_EQ(arguments(parameter("u", "seven")), R"({"u":"seven"})");
  EXPECT_EQ(arguments(parameter("any", "7")), R"({"any":"7"})");
  EXPECT_EQ(arguments(""), "{}");
}

// The arguments that one tool with these parameters gets from "x" and its text.
std::string argument(const std::string& parameters, const std::string& text) {
  const Json tools = {{{"name", "f"}, {"parameters", Json::parse(parameters)}}};
  const ToolCalls parsed = parse_tool_calls(call("f", parameter("x", text)), tools);
  std::string arguments;
  CallReader reader(tools);
  for (const char c : call("f", parameter("x", text)).substr(11)) reader.push({&c, 1}, arguments);
  EXPECT_TRUE(reader.closed());
  EXPECT_EQ(arguments, parsed.calls.at(0).arguments);
  return (parsed.valid() ? "" : parsed.misfits.at(0) + ": ") + arguments;
}
std::string argument_of(const std::string& schema, const std::string& text) {
  return argument(R"({"type":"object","properties":{"x":)" + schema +
                      R"(},"$defs":{"point":{"type":"object","properties":{"y":{"type":"integer"}}},"more":)" +
                      R"({"$ref":"#/$defs/point"},"loop":{"$ref":"#/$defs/loop"},"tree":)" +
                      R"({"anyOf":[{"type":"integer"},{"type":"array","items":{"$ref":"#/$defs/tree"}}]}}})",
                  text);
}

TEST(ToolCalls, TypesAreFoundInAllThatASchemaCombines) {
  const std::string optional_integer = R"({"anyOf":[{"type":"integer"},{"type":"null"}]})";
  EXPECT_EQ(argument_of(optional_integer, "null"), R"({"x":null})");
  EXPECT_EQ(argument_of(optional_integer, "7"), R"({"x":7})");
  EXPECT_EQ(argument_of(optional_integer, "x"),
            R"(call 1: the value of 'x' is not of type null or integer: {"x":"x"})");
  EXPECT_EQ(argument_of(R"({"oneOf":[{"type":"boolean"},{"type":"array"}]})", "[1, true]"), R"({"x":[1,true]})");
  EXPECT_EQ(argument_of(R"({"allOf":[{"type":["string","number"]},{"type":["number","null"]}]})", "1.5"),
            R"({"x":1.5})");
  EXPECT_EQ(argument_of(R"({"$ref":"#/$defs/more"})", R"({"y": 1})"), R"({"x":{"y":1}})");
  EXPECT_EQ(argument_of(R"({"$ref":"#/$defs/tree"})", "[1, [2]]"), R"({"x":[1,[2]]})");
  EXPECT_EQ(argument_of(R"({"enum":[1,2.5,null]})", "2.5"), R"({"x":2.5})");
  EXPECT_EQ(argument_of(R"({"const":true})", "true"), R"({"x":true})");
  EXPECT_EQ(argument_of(R"({"const":"true"})", "true"), R"({"x":"true"})");
  EXPECT_EQ(argument_of(R"({"enum":["1","2"]})", "1"), R"({"x":"1"})");
}

TEST(ToolCalls, TextIsTextWhereTheOtherTypesDoNotAdmitIt) {
  const std::string either = R"({"anyOf":[{"type":"string"},{"type":"integer","maximum":10},)"
                             R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}]})";
  EXPECT_EQ(argument_of(either, "7"), R"({"x":7})");
  EXPECT_EQ(argument_of(either, "70"), R"({"x":"70"})");
  EXPECT_EQ(argument_of(either, "null"), R"({"x":"null"})");
  EXPECT_EQ(argument_of(either, R"({"a": 1})"), R"({"x":{"a":1}})");
  EXPECT_EQ(argument_of(either, R"({"b": 1})"), R"({"x":"{\"b\": 1}"})");
  EXPECT_EQ(argument_of(either, R"("7")"), R"({"x":"\"7\""})");
  EXPECT_EQ(argument_of(R"({"enum":["1",2,null]})", "1"), R"({"x":"1"})");
  EXPECT_EQ(argument_of(R"({"enum":["1",2,null]})", "2"), R"({"x":2})");
  EXPECT_EQ(argument_of(R"({"anyOf":[{"type":"string"},{"type":"null"}]})", "null"), R"({"x":null})");
}

TEST(ToolCalls, SchemasThatSayNothingOrLeadNowhereTakeText) {
  for (const char* schema : {"{}", "true", R"({"$ref":"#/$defs/loop"})", R"({"$ref":"#/none"})", R"({"$ref":"other"})",
                             R"({"$ref":"#x"})", R"({"anyOf":[{"type":"integer"},{}]})", R"({"anyOf":[]})", "5",
                             R"({"type":"integer","const":"a"})", R"({"description":"a number"})"}) {
    EXPECT_EQ(argument_of(schema, "7"), R"({"x":"7"})") << schema;
  }
  std::string wide = R"({"properties":{"x":{"$ref":"#/d/0"}},"d":[)";  // each schema asks twice for the next
  for (int i = 1; i < 100; ++i) {
    const std::string next = R"({"$ref":"#/d/)" + std::to_string(i) + R"("})";
    wide += R"({"allOf":[)" + next + "," + next + "]},";
  }
  EXPECT_EQ(argument(wide + R"({"type":"integer"}]})", "7"), R"({"x":7})");
}

TEST(ToolCalls, ValuesNestedTooDeepStayText) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_EQ(argument_of(R"({"type":["array","string"]})", deep), R"({"x":")" + deep + R"("})");
  EXPECT_EQ(argument_of(R"({"type":"array"})", "[[[[1]]]]"), R"({"x":[[[[1]]]]})");
}

TEST(ToolCalls, ParametersAreFoundThroughReferences) {
  EXPECT_EQ(argument(R"({"$ref":"#/d/Args","d":{"Args":{"properties":{"x":{"type":"integer"}}}}})", "7"), R"({"x":7})");
  EXPECT_EQ(argument(R"({"allOf":[{"properties":{"y":{}}},{"properties":{"x":{"type":"null"}}}]})", "null"),
            R"({"x":null})");
  EXPECT_EQ(argument("5", "7"), R"({"x":"7"})");
  EXPECT_EQ(argument("null", "7"), R"({"x":"7"})");
}

TEST(ToolCalls, TextIsKeptToTheLetter) {
  EXPECT_EQ(arguments(parameter("s", "  two\n\nlines \n")), R"({"s":"  two\n\nlines \n"})");
  EXPECT_EQ(arguments(parameter("s", "")), R"({"s":""})");
  EXPECT_EQ(arguments(parameter("s", "a</parameter>b </tool_call>")), R"({"s":"a</parameter>b </tool_call>"})");
}

TEST(ToolCalls, TextAndSeveralCalls) {
  const ToolCalls parsed =
      parse_tool_calls("<think>\n<tool_call>no\n</think>\n\nHere:\n\n" + call("f", parameter("i", "1")) + "\n" +
                           call("bare", parameter("x", "y")) + "\n",
                       kTools);
  EXPECT_TRUE(parsed.well_formed());
  EXPECT_EQ(parsed.text, "<think>\n<tool_call>no\n</think>\n\nHere:");
  ASSERT_EQ(parsed.calls.size(), 2U);
  EXPECT_EQ(parsed.calls[1].name, "bare");
  EXPECT_EQ(parsed.calls[1].arguments, R"({"x":"y"})");
  const ToolCalls none = parse_tool_calls("just text ", nullptr);
  EXPECT_EQ(none.text, "just text ");
  EXPECT_TRUE(none.calls.empty() && none.well_formed());
}

TEST(ToolCalls, MalformedCallsAreReported) {
  EXPECT_EQ(arguments(parameter("i", "1") + parameter("i", "2")), "call 1: the parameter 'i' is given twice");
  EXPECT_EQ(arguments("<parameter=s>\nabc"), "call 1: the parameter 's' is not closed");
  const auto fault = [](const std::string& text) { return parse_tool_calls(text, kTools).faults.at(0); };
  EXPECT_EQ(fault("<tool_call>\nf(1)\n</tool_call>"), "call 1: expected <function=NAME>");
  EXPECT_EQ(fault("<tool_call>\n<function=f>\n</function>"), "call 1: expected </tool_call>");
  EXPECT_EQ(fault("<tool_call>"), "call 1: expected <function=NAME>");
  EXPECT_EQ(fault(call("f", "") + " and more"), "text stands behind a call");
}

TEST(ToolCalls, CallsThatNoDefinitionAllowsAreReadAndReported) {
  EXPECT_EQ(arguments(parameter("i", "1.5")), R"(call 1: the value of 'i' is not of type integer: {"i":"1.5"})");
  EXPECT_EQ(arguments(parameter("b", "yes")), R"(call 1: the value of 'b' is not of type boolean: {"b":"yes"})");
  EXPECT_EQ(arguments(parameter("o", "{")), R"(call 1: the value of 'o' is not of type object: {"o":"{"})");
  EXPECT_EQ(arguments(parameter("zz", "1")), R"(call 1: 'f' has no parameter 'zz': {"zz":"1"})");
  const ToolCalls parsed = parse_tool_calls(call("g", ""), kTools);
  EXPECT_TRUE(parsed.well_formed());
  EXPECT_EQ(parsed.misfits, std::vector<std::string>{"call 1: no tool is named 'g'"});
  EXPECT_EQ(parsed.calls.at(0).name, "g");
}

TEST(ToolCalls, AFaultDoesNotHideTheNextCall) {
  const ToolCalls parsed =
      parse_tool_calls("<tool_call>\nf()\n</tool_call>\n" + call("f", parameter("i", "3")), kTools);
  EXPECT_EQ(parsed.faults.size(), 1U);
  ASSERT_EQ(parsed.calls.size(), 1U);
  EXPECT_EQ(parsed.calls[0].arguments, R"({"i":3})");
}

// What the built-in model's template writes for a call is read back as the same call.
TEST(ToolCalls, RenderedCallsAreReadBack) {
  const Json chats = Json::parse(read_test_data("jinja/chats.json"));
  const ChatTemplate chat(read_test_data("jinja/spark.jinja"));
  size_t n = 0;
  for (const Json& request : chats["requests"]) {
    for (const Json& message : request["messages"]) {
      if (!message.contains("tool_calls") || !request["tools"].is_array() ||
          request["tools"][0]["function"]["name"] == "f")
        continue;
      const Json one = {{"messages", {{{"role", "user"}, {"content", "x"}}, message}},
                        {"add_generation_prompt", false}};
      std::string text = chat.render(one);
      text = text.substr(text.find("<|im_start|>assistant\n"));
      text.resize(text.rfind("<|im_end|>"));
      const ToolCalls parsed = parse_tool_calls(text, request["tools"]);
      EXPECT_TRUE(parsed.well_formed()) << text;
      ASSERT_EQ(parsed.calls.size(), message["tool_calls"].size()) << text;
      for (size_t i = 0; i < parsed.calls.size(); ++i, ++n) {
        const Json& want = message["tool_calls"][i].contains("function") ? message["tool_calls"][i]["function"]
                                                                         : message["tool_calls"][i];
        EXPECT_EQ(parsed.calls[i].name, want["name"].get<std::string>());
        EXPECT_EQ(Json::parse(parsed.calls[i].arguments), want["arguments"]) << text;
      }
    }
  }
  EXPECT_GE(n, 10U);
}

}  // namespace
}  // namespace flashmoe
