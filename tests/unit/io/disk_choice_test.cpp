#include "io/disk_choice.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "flashmoe/error.h"
#include "io/direct_alignment.h"
#include "io/disk_record.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

class DiskChoiceTest : public testing::Test {
 protected:
  DiskChoiceTest() : file_(open_file(folder_.write("model", std::string(16 << 20, 'm')))) {
    question_ = {.file = file_.get(), .read_bytes = {65536, 100'000}};
  }
  std::span<std::byte> memory() {
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, kBytes)));
    return {memory_.get(), kBytes};
  }
  // The only record in the folder.
  std::string record() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "cache")) return entry.path();
    return {};
  }

  static constexpr size_t kBytes = 4 << 20;
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  TempDir folder_;
  std::shared_ptr<File> file_;
  DiskQuestion question_;
  std::unique_ptr<std::byte, Free> memory_;
};

// A disk as fast either way: threads would take cores from what computes.
TEST(PreferredWay, ThreadsMustBeClearlyFaster) {
  std::vector<ReadWay> ways = {{ReadEngine::uring, 8, 1.8},
                               {ReadEngine::uring, 16, 2.0},
                               {ReadEngine::uring, 32, 2.05},
                               {ReadEngine::pread, 4, 2.5},
                               {ReadEngine::pread, 8, 2.6}};
  constexpr double kLong = 4e6;
  EXPECT_EQ(preferred_way(ways, kLong).engine, ReadEngine::uring);
  EXPECT_EQ(preferred_way(ways, kLong).depth, 16);  // the shallowest of those that are about as fast
  ways[4].gb_per_s = 2.7;
  EXPECT_EQ(preferred_way(ways, kLong).engine, ReadEngine::pread);
  EXPECT_EQ(preferred_way(ways, kLong).depth, 8);
  EXPECT_EQ(preferred_way(std::span(ways).subspan(3), kLong).engine, ReadEngine::pread);  // alone
}

TEST(PreferredWay, AQueueIsDeepEnoughToLastUntilItIsLookedAfter) {
  std::vector<ReadWay> ways = {{ReadEngine::uring, 8, 1.9},
                               {ReadEngine::uring, 16, 1.82},
                               {ReadEngine::uring, 32, 1.85},
                               {ReadEngine::uring, 64, 1.6}};
  EXPECT_EQ(preferred_way(ways, 4e6).depth, 8) << "17 ms";
  EXPECT_EQ(preferred_way(ways, 1.8e6).depth, 16) << "7.6, 15.2 ms; a little slower does no harm";
  EXPECT_EQ(preferred_way(ways, 0.6e6).depth, 32) << "10 ms; 64 is slower";
  ways[3].gb_per_s = 1.7;
  EXPECT_EQ(preferred_way(ways, 0.6e6).depth, 64) << "22 ms, and as fast as far as a slice can tell";
  EXPECT_EQ(preferred_way(ways, 1e4).depth, 64) << "as deep as they go";
  ways.push_back({ReadEngine::pread, 4, 9});
  ways.push_back({ReadEngine::pread, 8, 9});
  EXPECT_EQ(preferred_way(ways, 1e4).depth, 4) << "each of them takes a core's time";
}

TEST_F(DiskChoiceTest, ATrialIsShortAndItsChoiceIsAllowed) {
  for (const bool uring : {true, false}) {
    if (uring) {
      try {
        make_uring_queue(1);
      } catch (const Error&) {
        continue;
      }
    }
    for (const bool direct : {true, false}) {
      if (direct && probe_direct_alignment(*file_) == 0) continue;
      question_.may_uring = uring;
      question_.may_pread = !uring;
      question_.may_direct = direct;
      question_.may_buffered = !direct;
      const uint64_t start = now_ns();
      const DiskChoice choice = try_disk(question_, memory());
      EXPECT_LT(seconds_since(start), 10 * kTrialSeconds);
      EXPECT_EQ(choice.engine, uring ? ReadEngine::uring : ReadEngine::pread);
      EXPECT_EQ(choice.direct, direct);
      EXPECT_GT(choice.depth, 0);
      EXPECT_LE(choice.depth, 64);
      EXPECT_EQ(choice.chunk_bytes % 4096, 0u);
      EXPECT_FALSE(choice.settled && choice.gb_per_s == 0);
      if (direct) {
        EXPECT_GT(choice.gb_per_s, 0);
      }
    }
  }
}

TEST_F(DiskChoiceTest, WhatCannotBeMeasuredGivesADefault) {
  const auto small = open_file(folder_.write("small", std::string(100'000, 's')));
  question_.file = small.get();
  question_.may_uring = false;
  const DiskChoice choice = try_disk(question_, memory());
  EXPECT_EQ(choice.engine, ReadEngine::pread);
  EXPECT_EQ(choice.gb_per_s, 0);
  EXPECT_TRUE(choice.direct);
  question_.file = file_.get();
  EXPECT_EQ(try_disk(question_, {}).gb_per_s, 0) << "without memory";
}

TEST_F(DiskChoiceTest, ARecordIsFoundAgain) {
  const DiskChoice choice{ReadEngine::pread, 16, false, 262144, 2.75};
  const std::string key = disk_key(question_), cache = folder_ / "cache";
  EXPECT_FALSE(load_disk_choice(cache, key));
  save_disk_choice(cache, key, choice);
  const auto found = load_disk_choice(cache, key);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->engine, ReadEngine::pread);
  EXPECT_EQ(found->depth, 16);
  EXPECT_FALSE(found->direct);
  EXPECT_EQ(found->chunk_bytes, 262144u);
  EXPECT_EQ(found->gb_per_s, 2.75);
  question_.read_bytes = {4096};
  EXPECT_FALSE(load_disk_choice(cache, disk_key(question_))) << "another question";
}

TEST_F(DiskChoiceTest, ADamagedRecordIsNone) {
  const std::string key = disk_key(question_), cache = folder_ / "cache";
  save_disk_choice(cache, key, {});
  const std::string path = record(), text = read_bytes(path);
  ASSERT_TRUE(load_disk_choice(cache, key));
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] ^= 1;
    write_bytes(path, damaged);
    ASSERT_FALSE(load_disk_choice(cache, key)) << "byte " << i;
    write_bytes(path, std::string_view(text).substr(0, i));
    ASSERT_FALSE(load_disk_choice(cache, key)) << "cut at " << i;
  }
  write_bytes(path, text + "\n");
  EXPECT_FALSE(load_disk_choice(cache, key));
  write_bytes(path, text);
  EXPECT_TRUE(load_disk_choice(cache, key));
  utimbuf long_ago = {1000, 1000};
  ASSERT_EQ(utime(path.c_str(), &long_ago), 0);
  EXPECT_FALSE(load_disk_choice(cache, key)) << "too old";
  const time_t next_year = std::time(nullptr) + 365L * 24 * 3600;
  utimbuf ahead = {next_year, next_year};
  ASSERT_EQ(utime(path.c_str(), &ahead), 0);
  EXPECT_FALSE(load_disk_choice(cache, key)) << "of a clock that was wrong";
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  EXPECT_FALSE(load_disk_choice(cache, key)) << "a folder in its place";
}

TEST_F(DiskChoiceTest, AFolderThatCannotBeWrittenIsNoError) {
  const std::string key = disk_key(question_);
  save_disk_choice("", key, {});
  save_disk_choice(folder_ / "model", key, {});  // a file lies there
  save_disk_choice("/proc/nowhere", key, {});
  EXPECT_FALSE(load_disk_choice("", key));
  EXPECT_FALSE(load_disk_choice(folder_ / "model", key));
}

}  // namespace
}  // namespace flashmoe
