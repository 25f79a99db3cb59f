#include "chat/conversation.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace flashmoe {
namespace {

Conversation two_turns() {
  Conversation chat;
  chat.set_system("Be brief.");
  chat.add_user("  first\nquestion");
  chat.add_reply({"hm", "first answer", {}});
  chat.add_user("second");
  chat.add_reply({"", "", {{"call_1", "bash", R"({"command":"ls"})"}}});
  chat.add_tool_result({"call_1", "bash", ""}, "a.txt");
  chat.add_reply({"", "There is a.txt.", {}});
  return chat;
}

TEST(ConversationTest, MessagesHaveOpenAiShape) {
  const Json request = Json::parse(two_turns().request_json(Json::array(), false));
  EXPECT_EQ(request["enable_thinking"], false);
  EXPECT_FALSE(request.contains("tools"));
  const Json& messages = request["messages"];
  ASSERT_EQ(messages.size(), 7U);
  EXPECT_EQ(messages[2], Json::parse(R"({"role":"assistant","content":"first answer","reasoning_content":"hm"})"));
  EXPECT_EQ(
      messages[4]["tool_calls"],
      Json::parse(
          R"([{"id":"call_1","type":"function","function":{"name":"bash","arguments":"{\"command\":\"ls\"}"}}])"));
  EXPECT_EQ(messages[5], Json::parse(R"({"role":"tool","tool_call_id":"call_1","name":"bash","content":"a.txt"})"));
}

TEST(ConversationTest, UndoTakesAWholeTurn) {
  Conversation chat = two_turns();
  EXPECT_EQ(chat.n_turns(), 2);
  EXPECT_EQ(chat.undo(), "second");
  EXPECT_EQ(chat.messages().size(), 3U);
  EXPECT_EQ(chat.undo(), "  first\nquestion");
  EXPECT_TRUE(chat.empty());
  EXPECT_EQ(chat.undo(), "");
  EXPECT_EQ(chat.system(), "Be brief.");
}

TEST(ConversationTest, RetryKeepsTheQuestion) {
  Conversation chat = two_turns();
  EXPECT_TRUE(chat.forget_answer());
  EXPECT_EQ(chat.messages().back()["content"], "second");
  EXPECT_FALSE(Conversation().forget_answer());
}

TEST(ConversationTest, ForksKeepTheFirstTurns) {
  Conversation chat = two_turns();
  chat.keep_turns(1);
  EXPECT_EQ(chat.n_turns(), 1);
  EXPECT_EQ(chat.messages().back()["content"], "first answer");
}

TEST(ConversationTest, TitleAndSystem) {
  Conversation chat = two_turns();
  EXPECT_EQ(chat.title(), "first");
  chat.set_system("");
  EXPECT_EQ(chat.system(), "");
  EXPECT_EQ(chat.n_turns(), 2);
  EXPECT_EQ(Conversation().title(), "");
}

TEST(ConversationTest, OpenCallsAreThoseWithoutResult) {
  Conversation chat = two_turns();
  EXPECT_TRUE(chat.open_calls().empty());
  chat.add_user("third");
  chat.add_reply({"", "", {{"a", "x", "{}"}, {"b", "y", "{}"}}});
  chat.add_tool_result({"a", "x", ""}, "done");
  ASSERT_EQ(chat.open_calls().size(), 1U);
  EXPECT_EQ(chat.open_calls()[0].id, "b");
}

TEST(ConversationTest, DamagedMessagesAreRefused) {
  for (const char* text : {"{}", "[1]", R"([{"role":"king","content":"x"}])", R"([{"content":"x"}])",
                           R"([{"role":"user","content":["x"]}])", R"([{"role":"assistant","tool_calls":[{}]}])",
                           R"([{"role":"assistant","content":"","tool_calls":{"id":1}}])"}) {
    expect_error([&] { Conversation chat(Json::parse(text)); }, Fault::input, {"messages"});
  }
}

TEST(ConversationTest, WhatIsNotUtf8StillBecomesJson) {
  Conversation chat;
  chat.add_user("a\xff");
  EXPECT_EQ(Json::parse(chat.request_json(Json::array(), true))["messages"][0]["content"], "a\xEF\xBF\xBD");
}

TEST(ConversationTest, Markdown) {
  EXPECT_EQ(two_turns().markdown(),
            "## System\n\nBe brief.\n\n## You\n\n  first\nquestion\n\n## Model\n\nfirst answer\n\n## You\n\nsecond\n\n"
            "## Model\n\n\nCalls `bash` with `{\"command\":\"ls\"}`\n\n## Tool\n\n````\na.txt\n````\n\n"
            "## Model\n\nThere is a.txt.\n");
}

}  // namespace
}  // namespace flashmoe
