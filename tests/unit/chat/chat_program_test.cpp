#include "chat/chat_program.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "fake_backend.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

class ChatProgramTest : public testing::Test {
 protected:
  ChatProgramTest() : tools_(dir_.path(), {}), store_(dir_ / "chats"), program_(start()) {}
  std::unique_ptr<ChatProgram> start(bool keep = true) {
    return std::make_unique<ChatProgram>(
        ChatProgram::Parts{backend_, tools_, face_, store_, [this](bool on) { shown_ = on; }}, TurnOptions{}, keep);
  }
  void ask(const std::string& question, const std::string& answer) {
    backend_.answers_text(answer);
    program_->take(question);
  }
  const Json& last_messages() { return backend_.requests.back()["messages"]; }

  TempDir dir_;
  FakeBackend backend_;
  FakeFace face_;
  ToolBox tools_;
  TranscriptStore store_;
  std::optional<bool> shown_;
  std::unique_ptr<ChatProgram> program_;
};

TEST_F(ChatProgramTest, ChatsAreKeptAndResumed) {
  ask("one", "first");
  ask("two", "second");
  program_ = start();
  program_->resume("last");
  ask("three", "third");
  ASSERT_EQ(last_messages().size(), 5U);
  EXPECT_EQ(last_messages()[1]["content"], "first");
  EXPECT_EQ(store_.list().transcripts.size(), 1U);
}

TEST_F(ChatProgramTest, NothingIsKeptIfSo) {
  program_ = start(false);
  ask("one", "first");
  EXPECT_TRUE(store_.list().transcripts.empty());
}

TEST_F(ChatProgramTest, NewForkUndoRetry) {
  ask("one", "first");
  ask("two", "second");
  program_->take("/undo");
  ask("again", "third");
  EXPECT_EQ(last_messages().size(), 3U);
  ask("/retry", "fourth");
  EXPECT_EQ(last_messages().size(), 3U);
  EXPECT_EQ(last_messages()[2]["content"], "again");
  program_->take("/fork 1");
  ask("other", "fifth");
  EXPECT_EQ(last_messages().size(), 3U);
  EXPECT_EQ(store_.list().transcripts.size(), 2U);
  program_->take("/new");
  ask("fresh", "sixth");
  EXPECT_EQ(last_messages().size(), 1U);
  EXPECT_EQ(store_.list().transcripts.size(), 3U);
  expect_error([&] { program_->take("/fork 9"); }, Fault::usage, {"/fork", "1 turn,"});
}

TEST_F(ChatProgramTest, UndoOfTheOnlyTurnRemovesTheChat) {
  ask("one", "first");
  program_->take("/undo");
  EXPECT_TRUE(store_.list().transcripts.empty());
  expect_error([&] { program_->take("/undo"); }, Fault::usage, {"nothing to take back"});
  expect_error([&] { program_->take("/retry"); }, Fault::usage, {"no question"});
}

TEST_F(ChatProgramTest, SystemAndThink) {
  program_->take("/system Speak like a pirate.");
  program_->take("/think off");
  program_->take("/think show");
  ask("one", "arr");
  EXPECT_EQ(last_messages()[0]["content"], "Speak like a pirate.");
  EXPECT_EQ(backend_.requests.back()["enable_thinking"], false);
  EXPECT_EQ(shown_, true);
  program_->take("/new");
  ask("two", "arr");
  EXPECT_EQ(last_messages()[0]["role"], "system");
  program_->take("/system off");
  ask("three", "yes");
  EXPECT_EQ(last_messages()[0]["role"], "user");
  expect_error([&] { program_->take("/think maybe"); }, Fault::usage, {"/think", "maybe"});
}

TEST_F(ChatProgramTest, FilesGoAlongWithTheNextQuestion) {
  const std::string path = dir_.write("notes.md", "# notes\n```\ncode\n```\n");
  program_->take("/read " + path);
  ask("What is it?", "notes");
  EXPECT_EQ(last_messages()[0]["content"], path + ":\n````\n# notes\n```\ncode\n```\n````\n\nWhat is it?");
  ask("And now?", "nothing");
  EXPECT_EQ(last_messages()[2]["content"], "And now?");
  expect_error([&] { program_->take("/read " + dir_ / "none"); }, Fault::io, {"none"});
  expect_error([&] { program_->take("/read"); }, Fault::usage, {"a file is missing"});
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  for (const std::string& endless : {dir_ / "pipe", dir_.path(), std::string("/dev/zero")}) {
    expect_error([&] { program_->take("/read " + endless); }, Fault::input, {endless, "not a regular file"});
  }
}

TEST_F(ChatProgramTest, SavesAsMarkdownAndJson) {
  expect_error([&] { program_->take("/save x"); }, Fault::usage, {"nothing in this chat"});
  ask("one", "first");
  program_->take("/save " + dir_ / "chat.md");
  program_->take("/save " + dir_ / "chat.json");
  EXPECT_EQ(read_bytes(dir_ / "chat.md"), "## You\n\none\n\n## Model\n\nfirst\n");
  EXPECT_EQ(Json::parse(read_bytes(dir_ / "chat.json"))["messages"].size(), 2U);
  expect_error([&] { program_->take("/save " + dir_ / "chat.md"); }, Fault::usage, {"is there already"});
}

TEST_F(ChatProgramTest, SessionsTellWhatIsDamaged) {
  ask("about tides", "first");
  dir_.write("chats/broken.json", "{");
  face_.log.clear();
  program_->take("/sessions");
  EXPECT_NE(face_.log.find("about tides"), std::string::npos);
  EXPECT_NE(face_.notes.back().find("skipped: "), std::string::npos);
  EXPECT_NE(face_.notes.back().find("broken.json"), std::string::npos);
}

TEST_F(ChatProgramTest, AFailedQuestionIsTakenBack) {
  ask("one", "first");
  backend_.answers.push_back({event_of(AnswerEvent::Kind::content, "half")});
  backend_.failure = "gone";
  expect_error([&] { program_->take("two"); }, Fault::io, {"gone"});
  backend_.failure = nullptr;
  ask("three", "third");
  EXPECT_EQ(last_messages().size(), 3U);
}

TEST_F(ChatProgramTest, CommandsThatAreNone) {
  expect_error([&] { program_->take("/nothing"); }, Fault::usage, {"/nothing", "/help"});
  expect_error([&] { program_->take("/undo it"); }, Fault::usage, {"/undo takes no argument"});
  expect_error([&] { program_->take("/tools on"); }, Fault::usage, {"--tools"});
  EXPECT_FALSE(program_->take("/quit"));
  EXPECT_TRUE(program_->take("   "));
  EXPECT_TRUE(backend_.requests.empty());
}

TEST_F(ChatProgramTest, HelpNamesEveryCommandWithin80Columns) {
  program_->take("/help");
  for (const CommandInfo& info : all_commands()) EXPECT_NE(face_.log.find(info.name), std::string::npos);
  for (size_t at = 0; at < face_.log.size();) {
    const size_t end = face_.log.find('\n', at);
    EXPECT_LE(end - at, 80U) << face_.log.substr(at, end - at);
    at = end + 1;
  }
}

}  // namespace
}  // namespace flashmoe
