#include "tool_call.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

AnswerEvent piece(int call, const std::string& id, const std::string& name, const std::string& text) {
  AnswerEvent event;
  event.kind = AnswerEvent::Kind::tool_call;
  event.call = call;
  event.call_id = id;
  event.name = name;
  event.text = text;
  return event;
}

TEST(ToolCall, IsPutTogetherFromItsEvents) {
  std::vector<ToolCall> calls;
  EXPECT_EQ(add_to_calls(calls, piece(0, "a", "f", "{\"x\"")).arguments, "{\"x\"");
  EXPECT_EQ(add_to_calls(calls, piece(1, "b", "g", "{}")).name, "g");
  EXPECT_EQ(add_to_calls(calls, piece(0, "", "", ": 1}")).id, "a");
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(dump(calls[0].json()), R"({"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}})");
  EXPECT_EQ(dump(calls[1].json()), R"({"id":"b","type":"function","function":{"name":"g","arguments":"{}"}})");
}

}  // namespace
}  // namespace flashmoe
