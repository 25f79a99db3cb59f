#include "engine/session_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <numeric>

#include "base/bytes.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

SessionRecord record_of(int64_t n, int32_t first, SessionPart part = SessionPart::kv) {
  SessionRecord record{part, 0, std::vector<int32_t>(static_cast<size_t>(n))};
  std::iota(record.ids.begin(), record.ids.end(), first);
  return record;
}

class SessionFolderTest : public testing::Test {
 protected:
  SessionFolder open(uint64_t most_bytes = kMiB, const std::string& identity = "model a") {
    return SessionFolder(folder_, most_bytes, identity);
  }
  bool write(SessionFolder& folder, const SessionRecord& record, std::string payload) {
    return folder.write(record, {std::as_writable_bytes(std::span(payload))});
  }
  // What was read, or nothing.
  static std::string read(SessionFolder& folder, const SessionRecord& record, size_t n) {
    std::string first(n / 3, '\0'), rest(n - n / 3, '\0');
    if (!folder.read(record, {std::as_writable_bytes(std::span(first)), std::as_writable_bytes(std::span(rest))}))
      return {};
    return first + rest;
  }
  std::string only_file() {
    std::string path;
    for (const auto& file : fs::directory_iterator(folder_)) path = file.path();
    return path;
  }
  size_t n_files() {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  TempDir dir_;
  std::string folder_ = dir_ / "data/sessions";
};

TEST_F(SessionFolderTest, GivesBackWhatWasWritten) {
  auto folder = open();
  const auto record = record_of(128, 5);
  ASSERT_TRUE(write(folder, record, "keys and values"));
  EXPECT_EQ(read(folder, record, 15), "keys and values");
  EXPECT_EQ(read(folder, record_of(128, 6), 15), "");
  auto again = open();
  const auto found = again.scan();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].record.ids, record.ids);
  EXPECT_EQ(found[0].payload_bytes, 15U);
  EXPECT_EQ(read(again, found[0].record, 15), "keys and values");
  EXPECT_TRUE(again.take_notes().empty());
  struct stat status = {};
  ASSERT_EQ(::stat(only_file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
}

TEST_F(SessionFolderTest, WhatWasUsedLongestAgoGoesFirst) {
  auto folder = open(5000);
  const auto a = record_of(64, 0), b = record_of(64, 1), c = record_of(64, 2);
  const std::string payload(2000, 'x');
  ASSERT_TRUE(write(folder, a, payload) && write(folder, b, payload));
  folder.touch(a);
  ASSERT_TRUE(write(folder, c, payload));
  EXPECT_TRUE(read(folder, a, 2000) == payload);
  EXPECT_TRUE(read(folder, b, 2000).empty());
  EXPECT_LE(folder.bytes(), 5000U);
  EXPECT_EQ(folder.n_files(), 2U);
  EXPECT_FALSE(write(folder, b, std::string(6000, 'x')));
  EXPECT_EQ(n_files(), 2U);
  EXPECT_EQ(folder.take_notes().size(), 1U);
}

TEST_F(SessionFolderTest, TellsWhatIsThereNoMore) {
  auto folder = open(kMiB);
  const auto oldest = record_of(64, 0), newer = record_of(64, 1), newest = record_of(64, 2);
  ASSERT_TRUE(write(folder, oldest, std::string(400'000, 'a')));
  ASSERT_TRUE(write(folder, newer, std::string(400'000, 'b')));
  EXPECT_EQ(folder.n_removals(), 0U);
  ASSERT_TRUE(write(folder, newest, std::string(400'000, 'c')));
  EXPECT_EQ(folder.n_removals(), 1U);
  EXPECT_FALSE(folder.had(folder.name_of(oldest)));
  EXPECT_TRUE(folder.had(folder.name_of(newer)) && folder.had(folder.name_of(newest)));
  fs::remove(folder_ + "/" + folder.name_of(newer));  // by another process
  ASSERT_TRUE(write(folder, oldest, "a"));
  EXPECT_FALSE(folder.had(folder.name_of(newer)));
  EXPECT_EQ(folder.n_removals(), 2U);
}

TEST_F(SessionFolderTest, DamagedFilesAreToldAndRemoved) {
  const auto record = record_of(64, 0);
  const std::string payload(500, 'x');
  const auto damage = [&](const std::function<void(std::string&)>& how) {
    auto folder = open();
    ASSERT_TRUE(write(folder, record, payload));
    const std::string path = only_file();
    std::string bytes = read_bytes(path);
    how(bytes);
    write_bytes(path, bytes);
    EXPECT_EQ(read(folder, record, 500), "");
    const auto notes = folder.take_notes();
    ASSERT_EQ(notes.size(), 1U);
    EXPECT_NE(notes[0].find("is damaged"), std::string::npos) << notes[0];
    EXPECT_EQ(n_files(), 0U);
  };
  damage([](std::string& bytes) { bytes.pop_back(); });
  damage([](std::string& bytes) { bytes += '\0'; });
  damage([](std::string& bytes) { bytes.back() ^= 1; });
  damage([](std::string& bytes) { bytes[70] ^= 1; });
  damage([](std::string& bytes) { bytes.clear(); });
  damage([](std::string& bytes) { bytes[0] = 'x'; });
}

TEST_F(SessionFolderTest, OthersFilesAreLeftAlone) {
  auto other = open(kMiB, "model b");
  ASSERT_TRUE(write(other, record_of(64, 0), "b"));
  const std::string theirs = only_file();
  auto folder = open();
  EXPECT_TRUE(folder.scan().empty());
  EXPECT_TRUE(folder.take_notes().empty());
  // Under a name of ours it is told; another version as well.
  ASSERT_TRUE(write(folder, record_of(64, 0), "a"));
  std::string ours;
  for (const auto& file : fs::directory_iterator(folder_)) {
    if (file.path() != theirs) ours = file.path();
  }
  fs::copy_file(theirs, ours, fs::copy_options::overwrite_existing);
  EXPECT_TRUE(folder.scan().empty());
  std::string bytes = read_bytes(theirs);
  bytes[7] = '0';
  write_bytes(ours, bytes);
  EXPECT_TRUE(folder.scan().empty());
  const auto notes = folder.take_notes();
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_NE(notes[0].find("another model"), std::string::npos);
  EXPECT_NE(notes[1].find("another version"), std::string::npos);
  EXPECT_EQ(n_files(), 2U);
}

TEST_F(SessionFolderTest, AFolderThatCannotBeWrittenToIsAnError) {
  dir_.write("data", "a file");
  expect_error([&] { open(); }, Fault::io, {"data/sessions"});
}

// Nobody may write more than the limit: as a full disk, but for this process alone.
TEST_F(SessionFolderTest, AFolderThatWasDeletedIsMadeAgain) {
  auto folder = open();
  ASSERT_TRUE(write(folder, record_of(64, 0), "a"));
  fs::remove_all(folder_);
  EXPECT_EQ(read(folder, record_of(64, 0), 1), "");
  EXPECT_TRUE(write(folder, record_of(64, 0), "b"));
  EXPECT_EQ(read(folder, record_of(64, 0), 1), "b");
  EXPECT_TRUE(folder.take_notes().empty());
}

TEST_F(SessionFolderTest, AFullDiskIsToldOnceAndLeavesNothing) {
  const auto fill = [this] {
    auto folder = open();
    const rlimit limit = {1000, 1000};
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const bool refused = !write(folder, record_of(64, 0), std::string(9000, 'x')) && folder.resting() &&
                         !write(folder, record_of(64, 0), "x");
    std::_Exit(refused && folder.take_notes().size() == 1 && n_files() == 0 ? 0 : 1);
  };
  EXPECT_EXIT(fill(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace flashmoe
