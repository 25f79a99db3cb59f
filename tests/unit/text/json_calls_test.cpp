#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "fake_checkpoint.h"
#include "support/test_data.h"
#include "text/answer_reader.h"
#include "text/chat_template.h"
#include "text/tool_calls.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

const Json kTools = Json::parse(R"([{"name": "f", "parameters": {"properties": {"x": {"type": "string"},
  "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}}, {"name": "g"}])");

std::string call(const std::string& inside) { return "<tool_call>\n" + inside + "\n</tool_call>"; }

// An answer's pieces as one text: "CONTENT [NAME ARGUMENTS]", and "!" where not all calls are whole.
std::string read(const std::string& answer, size_t n_bytes = 1) {
  auto definition = byte_tokenizer();
  std::map<std::string, int32_t> known;
  std::vector<int32_t> ids;
  for (size_t at = 0; at < answer.size(); at += n_bytes) {
    const std::string text = answer.substr(at, n_bytes);
    if (text.size() == 1) {
      ids.push_back(text[0]);
      continue;
    }
    const auto [found, is_new] = known.emplace(text, 256 + static_cast<int32_t>(known.size()));
    ids.push_back(found->second);
    if (is_new) definition["added_tokens"].push_back({{"content", text}, {"id", ids.back()}, {"special", false}});
  }
  const auto tokenizer = Tokenizer::from_json(definition.dump());
  AnswerReader reader(*tokenizer, kTools, AnswerReader::Opening::content, {});
  std::vector<AnswerPiece> pieces;
  const auto take = [&](const std::vector<AnswerPiece>& more) {
    pieces.insert(pieces.end(), more.begin(), more.end());
  };
  for (const int32_t id : ids) take(reader.push(id));
  take(reader.finish());
  std::string content;
  std::vector<std::string> calls;
  for (const AnswerPiece& piece : pieces) {
    if (piece.kind == AnswerPiece::Kind::content) content += piece.text;
    if (piece.kind != AnswerPiece::Kind::call) continue;
    if (piece.begins) calls.push_back(piece.name + " ");
    calls.at(static_cast<size_t>(piece.call)) += piece.text;
  }
  for (const std::string& one : calls) content += "[" + one + "]";
  return content + (reader.n_whole_calls() == static_cast<int>(calls.size()) ? "" : "!");
}

TEST(JsonCalls, AreReadAsTheyStream) {
  const std::string one = call(R"({"name": "f", "arguments": {"x": "a{\"}]\\", "n": [1, {}]}})");
  for (const size_t n_bytes : {1U, 7U, 1000U}) {
    EXPECT_EQ(read("Look:\n\n" + one, n_bytes), R"(Look:[f {"x": "a{\"}]\\", "n": [1, {}]}])") << n_bytes;
    EXPECT_EQ(read(one + "\n" + call(R"({"name": "g", "arguments": {}})"), n_bytes),
              R"([f {"x": "a{\"}]\\", "n": [1, {}]}][g {}])");
  }
  EXPECT_EQ(read(call(R"({"arguments": {"n": 1}, "name": "f"})")), R"([f {"n": 1}])");
  EXPECT_EQ(read("<tool_call>{\n \"name\" : \"f\\u0067\" ,\r\n\t\"arguments\" : { }\n}</tool_call>"), "[fg { }]");
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": "</tool_call><tool_call>"}})")),
            R"([f {"x": "</tool_call><tool_call>"}])");
}

TEST(JsonCalls, ArgumentsAreHandedOutBeforeTheirEnd) {
  CallReader reader(kTools);
  std::string arguments;
  reader.push("\n{\"name\": \"f\", ", arguments);
  EXPECT_FALSE(reader.named());
  reader.push(R"("arguments": {"x": "begun)", arguments);
  EXPECT_EQ(reader.name(), "f");
  EXPECT_EQ(arguments, R"({"x": "begun)");
  reader.push(" and ended\"}", arguments);
  EXPECT_EQ(arguments, R"({"x": "begun and ended"})");
  EXPECT_FALSE(reader.closed());
  EXPECT_EQ(reader.push("}\n</tool_call> more", arguments), 14U);
  EXPECT_TRUE(reader.closed() && reader.whole());
}

TEST(JsonCalls, WhatIsBrokenBeforeTheArgumentsIsContent) {
  for (const char* inside :
       {R"({"name": "f"})", R"({})", R"({"name": 5, "arguments": {}})", R"({"name": "", "arguments": {}})",
        R"({"name": "f", "arguments": "{}"})", R"({"name": "f", "id": 1, "arguments": {}})", R"({"arguments": {}})",
        R"({"name": "f", "name": "g", "arguments": {}})", R"({"name" "f"})", R"({name: "f", "arguments": {}})",
        R"({"arguments": {"x": }, "name": "f"})", R"({"arguments": {"x": ]}, "name": "f"})",
        R"({"name": "\x", "arguments": {}})", "{\"name\": \"f\n\", \"arguments\": {}}", R"([{"name": "f"}])"}) {
    EXPECT_EQ(read(call(inside)), call(inside));
    EXPECT_EQ(read(call(inside), 1000), call(inside));
  }
  EXPECT_EQ(read("<tool_call>\n{\"name\": \"f\""), "<tool_call>\n{\"name\": \"f\"");
}

TEST(JsonCalls, WhatIsBrokenBehindThatIsNoWholeCall) {
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": 1]}})")), R"([f {"x": 1]!)");
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": 01}})")), R"([f {"x": 01}]!)");
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": "a})")), R"([f {"x": "a}]!)");
  EXPECT_EQ(read("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\""), R"([f {"x"]!)");
  const std::string deep(1000, '[');
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": )" + deep + "}}")).back(), '!');
  // The object's end is missing, not the arguments'.
  EXPECT_EQ(read(call(R"({"name": "f", "arguments": {"x": "a"})")), R"([f {"x": "a"}])");
}

TEST(JsonCalls, WholeTextsAreReadLikewise) {
  const ToolCalls parsed = parse_tool_calls("Look:\n" + call(R"({"name": "f", "arguments": {"x": "a", "n": null}})") +
                                                "\n" + call(R"({"arguments":{},"name":"g"})"),
                                            kTools);
  EXPECT_TRUE(parsed.valid());
  EXPECT_EQ(parsed.text, "Look:");
  ASSERT_EQ(parsed.calls.size(), 2U);
  EXPECT_EQ(parsed.calls[0].name, "f");
  EXPECT_EQ(parsed.calls[0].arguments, R"({"x": "a", "n": null})");
  EXPECT_EQ(parsed.calls[1].name, "g");
  EXPECT_EQ(parsed.calls[1].arguments, "{}");
  const auto complaint = [](const std::string& text) {
    const ToolCalls bad = parse_tool_calls(text, kTools);
    return bad.well_formed() ? bad.misfits.at(0) : bad.faults.at(0);
  };
  EXPECT_EQ(complaint(call(R"({"name": "f"})")), "call 1: there are no arguments");
  EXPECT_EQ(complaint(call(R"({"arguments": {}})")), "call 1: there is no name");
  EXPECT_EQ(complaint(call(R"({"name": "f", "arguments": 5})")), "call 1: the arguments are not an object");
  EXPECT_EQ(complaint(call(R"({"name": "f", "also": 5})")), "call 1: 'also' is neither name nor arguments");
  EXPECT_EQ(complaint("<tool_call>{\"name\": \"f\""), "call 1: the JSON object is not closed");
  EXPECT_EQ(complaint(R"(<tool_call>{"name": "f", "arguments": {}} x</tool_call>)"), "call 1: expected </tool_call>");
  EXPECT_EQ(complaint(call(R"({"name": "h", "arguments": {}})")), "call 1: no tool is named 'h'");
  EXPECT_EQ(complaint(call(R"({"name": "f", "arguments": {"y": 1}})")), "call 1: 'f' has no parameter 'y'");
  EXPECT_EQ(complaint(call(R"({"name": "f", "arguments": {"n": "1"}})")),
            "call 1: the value of 'n' is not of type null or integer");
}

TEST(JsonCalls, TemplatesNameTheForm) {
  EXPECT_TRUE(ChatTemplate(read_test_data("jinja/hermes_tools.jinja")).has_json_calls());
  EXPECT_FALSE(ChatTemplate(read_test_data("jinja/spark.jinja")).has_json_calls());
  EXPECT_FALSE(ChatTemplate("{{ messages[0].content }}").has_json_calls());
}

// Arguments come as an object, or as the text of one.
TEST(JsonCalls, RenderedCallsAreReadBack) {
  const ChatTemplate chat(read_test_data("jinja/hermes_tools.jinja"));
  const Json arguments = Json::parse(R"({"x": "a \"é\" </b>\n", "n": null})");
  for (const Json& given : {arguments, Json(arguments.dump())}) {
    const Json calls = {{{"type", "function"}, {"function", {{"name", "f"}, {"arguments", given}}}},
                        {{"name", "g"}, {"arguments", Json::object()}}};
    const std::string text = chat.render({{"messages",
                                           {{{"role", "user"}, {"content", "x"}},
                                            {{"role", "assistant"}, {"content", ""}, {"tool_calls", calls}},
                                            {{"role", "tool"}, {"content", "1"}},
                                            {{"role", "tool"}, {"content", "2"}}}}});
    EXPECT_NE(text.find("<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"), text.npos);
    const size_t begin = text.find("assistant\n") + 10;
    const ToolCalls parsed = parse_tool_calls(text.substr(begin, text.find("<|im_end|>", begin) - begin), kTools);
    EXPECT_TRUE(parsed.valid()) << text;
    ASSERT_EQ(parsed.calls.size(), 2U);
    EXPECT_EQ(Json::parse(parsed.calls[0].arguments), arguments);
    EXPECT_EQ(parsed.calls[1].name, "g");
  }
}

}  // namespace
}  // namespace flashmoe
