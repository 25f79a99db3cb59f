#include "chat/transcript_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

Transcript chat_about(const std::string& text, const std::string& id) {
  Transcript transcript;
  transcript.id = id;
  transcript.model = "spark.gguf";
  transcript.conversation.add_user(text);
  transcript.conversation.add_reply({"thought", "answer to " + text, {}});
  return transcript;
}

class TranscriptStoreTest : public testing::Test {
 protected:
  TempDir dir_;
  TranscriptStore store_{dir_ / "data/flashmoe/chats"};
};

TEST_F(TranscriptStoreTest, WhatIsSavedIsLoaded) {
  Transcript saved = chat_about("tides", "20260101-000000-0001");
  saved.forked_from = "20250101-000000-0001";
  store_.save(saved);
  const Transcript loaded = store_.load(saved.id);
  EXPECT_EQ(loaded.conversation.messages(), saved.conversation.messages());
  EXPECT_EQ(loaded.model, "spark.gguf");
  EXPECT_EQ(loaded.forked_from, saved.forked_from);
  EXPECT_GT(loaded.updated_s, 0);
}

TEST_F(TranscriptStoreTest, FilesAreTheirOwnersOnly) {
  Transcript saved = chat_about("secrets", "a");
  store_.save(saved);
  store_.save(saved);
  struct stat status = {};
  ASSERT_EQ(::stat((store_.folder() + "/a.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  ASSERT_EQ(::stat(store_.folder().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
}

TEST_F(TranscriptStoreTest, DamagedFilesAreReportedAndSkipped) {
  Transcript good = chat_about("good", "good");
  store_.save(good);
  const std::string whole = read_bytes(store_.folder() + "/good.json");
  dir_.write("data/flashmoe/chats/cut.json", whole.substr(0, whole.size() / 2));
  dir_.write("data/flashmoe/chats/empty.json", "");
  dir_.write("data/flashmoe/chats/list.json", "[]");
  dir_.write("data/flashmoe/chats/newer.json", R"({"version": 99, "messages": []})");
  dir_.write("data/flashmoe/chats/bad.json", R"({"version": 1, "messages": [{"role": 3}]})");
  dir_.write("data/flashmoe/chats/deep.json", std::string(100000, '['));
  dir_.write("data/flashmoe/chats/types.json", R"({"version": 1, "model": 5, "messages": []})");
  size_t n_times = 0;
  for (const char* when : {"1e300", "-1", "253402300800", "18446744073709551615", "1.5", "\"now\""}) {
    dir_.write(fmt::format("data/flashmoe/chats/time{}.json", n_times++),
               fmt::format(R"({{"version": 1, "updated_s": {}, "messages": []}})", when));
  }
  dir_.write("data/flashmoe/chats/good.json.partial.77", "half");
  ASSERT_EQ(::mkfifo((store_.folder() + "/pipe.json").c_str(), 0600), 0);
  const TranscriptStore::Listing listing = store_.list();
  ASSERT_EQ(listing.transcripts.size(), 1U);
  EXPECT_EQ(listing.transcripts[0].id, "good");
  ASSERT_EQ(listing.damaged.size(), 8U + n_times);
  for (const TranscriptStore::Damaged& each : listing.damaged) {
    EXPECT_TRUE(each.what.starts_with(fmt::format("{}/{}.json: ", store_.folder(), each.id))) << each.what;
    EXPECT_EQ(each.what.find('\n'), std::string::npos);
  }
}

TEST_F(TranscriptStoreTest, FindsByNumberIdAndLast) {
  for (const char* id : {"20260101-a", "20260102-b", "20260102-c"}) {
    Transcript each = chat_about(id, id);
    store_.save(each);
  }
  EXPECT_EQ(store_.find("20260101").id, "20260101-a");
  EXPECT_EQ(store_.find("20260102-c").id, "20260102-c");
  EXPECT_EQ(store_.find("last").id, store_.list().transcripts[0].id);
  EXPECT_EQ(store_.find("3").id, store_.list().transcripts[2].id);
  expect_error([&] { store_.find("20260102"); }, Fault::input, {"more than one", "20260102"});
  expect_error([&] { store_.find("none"); }, Fault::input, {"there is no chat 'none'"});
  expect_error([&] { store_.find("../x"); }, Fault::input, {"there is no chat"});
}

TEST_F(TranscriptStoreTest, ADamagedChatThatIsNamedIsToldAndNoOtherTaken) {
  const auto write = [&](const std::string& id, const char* text, int64_t modified_s) {
    const std::string path = dir_.write("data/flashmoe/chats/" + id + ".json", text);
    const timespec times[] = {{modified_s, 0}, {modified_s, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  write("20260102-b", "{", 2000);
  expect_error([&] { store_.find("20260102"); }, Fault::input, {"20260102-b.json", "is damaged"});
  expect_error([&] { store_.find("last"); }, Fault::input, {"20260102-b.json", "is damaged", "the last"});
  expect_error([&] { store_.find("20260103"); }, Fault::input, {"no chats"});
  write("20260101-a", R"({"version": 1, "updated_s": 1000, "messages": []})", 1000);
  expect_error([&] { store_.find("20260102-b"); }, Fault::input, {"20260102-b.json", "is damaged"});
  expect_error([&] { store_.find("last"); }, Fault::input, {"20260102-b.json", "is damaged", "the last"});
  expect_error([&] { store_.find("2026010"); }, Fault::input, {"more than one"});
  EXPECT_EQ(store_.find("20260101").id, "20260101-a");
  write("20260103-c", R"({"version": 1, "updated_s": 3000, "messages": []})", 3000);
  EXPECT_EQ(store_.find("last").id, "20260103-c");
}

TEST_F(TranscriptStoreTest, NoFolderIsNoChats) {
  EXPECT_TRUE(store_.list().transcripts.empty());
  expect_error([&] { store_.find("last"); }, Fault::input, {"no chats"});
}

TEST_F(TranscriptStoreTest, RemoveAndNewIds) {
  Transcript saved = chat_about("x", store_.new_id());
  EXPECT_NE(saved.id, store_.new_id());
  store_.save(saved);
  store_.remove(saved.id);
  EXPECT_TRUE(store_.list().transcripts.empty());
  store_.remove(saved.id);
}

TEST_F(TranscriptStoreTest, FolderThatCannotBeMadeIsNamed) {
  const TranscriptStore store(dir_.write("file", "x") + "/chats");
  Transcript saved = chat_about("x", "x");
  expect_error([&] { store.save(saved); }, Fault::io, {"file"});
}

}  // namespace
}  // namespace flashmoe
