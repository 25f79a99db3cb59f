#include "chat/turn.h"

#include <gtest/gtest.h>

#include "fake_backend.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr const char* kLs = R"({"command":"echo listed"})";

class TurnTest : public testing::Test {
 protected:
  TurnTest() : tools_(dir_.path(), {}), runner_(backend_, tools_, face_) {
    tools_.add_own();
    options_.tools = true;
    chat_.add_user("question");
  }
  void run() {
    runner_.run(chat_, options_, [this] { ++n_kept_; });
  }
  std::string role(size_t at) { return chat_.messages()[at]["role"]; }
  std::string content(size_t at) { return chat_.messages()[at]["content"]; }

  TempDir dir_;
  FakeBackend backend_;
  FakeFace face_;
  ToolBox tools_;
  TurnRunner runner_;
  TurnOptions options_;
  Conversation chat_;
  int n_kept_ = 0;
};

TEST_F(TurnTest, AnAnswerIsKept) {
  backend_.answers.push_back({event_of(AnswerEvent::Kind::thinking, "hm"), event_of(AnswerEvent::Kind::content, "an "),
                              event_of(AnswerEvent::Kind::content, "answer"), done_event()});
  run();
  ASSERT_EQ(chat_.messages().size(), 2U);
  EXPECT_EQ(content(1), "an answer");
  EXPECT_EQ(chat_.messages()[1]["reasoning_content"], "hm");
  EXPECT_EQ(face_.log, "(hm)an answer|");
  EXPECT_EQ(n_kept_, 1);
}

TEST_F(TurnTest, ThoughtsWithoutAnAnswerAreTold) {
  backend_.answers.push_back({event_of(AnswerEvent::Kind::thinking, "hm"), done_event(false, StopReason::max_tokens)});
  run();
  EXPECT_EQ(chat_.messages()[1]["reasoning_content"], "hm");
  ASSERT_EQ(face_.notes.size(), 1U);
  EXPECT_EQ(face_.notes[0], "there is no answer: the limit of tokens was reached while it was thinking");
}

TEST_F(TurnTest, TheFooterHasTotals) {
  options_.yes = true;
  backend_.calls("bash", kLs);
  backend_.answers_text("done");
  run();
  ASSERT_EQ(face_.footers.size(), 1U);
  EXPECT_EQ(face_.footers[0].answer_tokens, 10);
  EXPECT_EQ(face_.footers[0].prompt_tokens, 10);
  EXPECT_DOUBLE_EQ(face_.footers[0].tok_per_s(), 5);
  EXPECT_DOUBLE_EQ(face_.footers[0].ttft_s, 0.5);
  EXPECT_DOUBLE_EQ(face_.footers[0].hit_rate.value(), 0.75);
}

TEST_F(TurnTest, ToolLoop) {
  backend_.calls("bash", kLs);
  backend_.answers_text("It lists.");
  face_.permissions = {Permission::yes};
  run();
  ASSERT_EQ(chat_.messages().size(), 4U);
  EXPECT_EQ(role(2), "tool");
  EXPECT_EQ(content(2), "listed\nexit code: 0");
  EXPECT_EQ(chat_.messages()[2]["tool_call_id"], chat_.messages()[1]["tool_calls"][0]["id"]);
  EXPECT_EQ(content(3), "It lists.");
  EXPECT_EQ(face_.log, "|[bash: echo listed]{listed\nexit code: 0}It lists.|");
  EXPECT_EQ(backend_.requests[1]["messages"].size(), 3U);
  EXPECT_EQ(backend_.requests[0]["tools"].size(), 4U);
}

TEST_F(TurnTest, RefusedCallsTellTheModel) {
  backend_.calls("bash", kLs);
  backend_.answers_text("As you like.");
  face_.permissions = {Permission::no};
  run();
  EXPECT_EQ(content(2), "refused: the user does not allow this call");
  EXPECT_EQ(content(3), "As you like.");
}

TEST_F(TurnTest, AlwaysIsForTheVeryCommand) {
  backend_.calls("bash", kLs);
  backend_.calls("bash", R"({ "command": "echo listed" })");
  backend_.calls("bash", R"({"command":"echo other"})");
  face_.permissions = {Permission::always, Permission::no};
  run();
  EXPECT_EQ(face_.asked, (std::vector<std::string>{"this very call", "this very call"}));
  EXPECT_EQ(content(4), "listed\nexit code: 0");
  EXPECT_EQ(content(6), "refused: the user does not allow this call");
}

TEST_F(TurnTest, AlwaysIsForAllCallsOfAFileTool) {
  backend_.calls("list_dir", "{}");
  backend_.calls("list_dir", R"({"path":"."})");
  face_.permissions = {Permission::always};
  run();
  EXPECT_EQ(face_.asked, std::vector<std::string>{"every list_dir"});
  EXPECT_EQ(content(4), "the folder is empty\n");
}

TEST_F(TurnTest, StoppingAtAQuestionEndsTheTurn) {
  backend_.answers.push_back({call_event(0, "a", "bash", kLs), call_event(1, "b", "bash", kLs), done_event(true)});
  face_.permissions = {Permission::stop};
  run();
  ASSERT_EQ(chat_.messages().size(), 4U);
  EXPECT_EQ(content(2), "not run: the user stopped here");
  EXPECT_EQ(content(3), "not run: the user stopped here");
  EXPECT_TRUE(chat_.open_calls().empty());
  EXPECT_EQ(backend_.requests.size(), 1U);
}

TEST_F(TurnTest, WrongCallsAreNotAskedAbout) {
  backend_.calls("none", "{}");
  backend_.answers_text("Sorry.");
  run();
  EXPECT_TRUE(face_.asked.empty());
  EXPECT_EQ(content(2), "error: there is no tool named none");
}

TEST_F(TurnTest, RoundsAreLimited) {
  options_.yes = true;
  options_.n_rounds = 3;
  for (int i = 0; i < 10; ++i) backend_.calls("bash", kLs);
  run();
  EXPECT_EQ(backend_.requests.size(), 4U);
  ASSERT_EQ(face_.notes.size(), 1U);
  EXPECT_NE(face_.notes[0].find("3 rounds"), std::string::npos);
  EXPECT_TRUE(chat_.open_calls().empty());
}

TEST_F(TurnTest, AStoppedAnswerStaysAsFarAsItCame) {
  face_.stop_after_content = true;
  backend_.answers_text("half an");
  backend_.answers[0].pop_back();
  run();
  EXPECT_EQ(content(1), "half an");
  EXPECT_EQ(face_.footers[0].reason, StopReason::interrupted);
}

TEST_F(TurnTest, AQuestionWithoutAnyAnswerIsTakenBack) {
  face_.stop = true;
  backend_.answers_text("never seen");
  run();
  EXPECT_TRUE(chat_.messages().empty());
  EXPECT_EQ(n_kept_, 0);
  ASSERT_EQ(face_.notes.size(), 1U);
  EXPECT_NE(face_.notes[0].find("taken back"), std::string::npos);
  EXPECT_EQ(face_.footers.at(0).reason, StopReason::end_of_turn);  // it was told once
}

TEST_F(TurnTest, CallsOfAStoppedAnswerAreNotRun) {
  face_.stop_after_content = true;
  backend_.answers.push_back({call_event(0, "a", "bash", kLs), event_of(AnswerEvent::Kind::content, "x")});
  run();
  EXPECT_TRUE(face_.asked.empty());
  EXPECT_FALSE(chat_.messages()[1].contains("tool_calls"));
}

TEST_F(TurnTest, CallsThatAreNotWellFormedAreDropped) {
  backend_.answers.push_back(
      {call_event(0, "a", "bash", "{"), event_of(AnswerEvent::Kind::content, "x"), done_event(false)});
  run();
  EXPECT_FALSE(chat_.messages()[1].contains("tool_calls"));
}

TEST_F(TurnTest, FailuresLeaveTheConversationAsItWas) {
  backend_.answers.push_back({event_of(AnswerEvent::Kind::content, "half")});
  backend_.failure = "the disk is gone";
  expect_error([&] { run(); }, Fault::io, {"the disk is gone"});
  EXPECT_EQ(chat_.messages().size(), 1U);
}

TEST_F(TurnTest, OpenCallsAreClosed) {
  chat_.add_reply({"", "", {{"a", "bash", kLs}}});
  close_calls(chat_);
  EXPECT_TRUE(chat_.open_calls().empty());
  EXPECT_EQ(content(2), "not run: the program ended before");
}

TEST_F(TurnTest, ToolsAreOffUnlessAllowed) {
  options_.tools = false;
  options_.think = false;
  run();
  EXPECT_FALSE(backend_.requests[0].contains("tools"));
  EXPECT_EQ(backend_.requests[0]["enable_thinking"], false);
}

}  // namespace
}  // namespace flashmoe
