#include "base/small_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

TEST(SmallFile, IsReadAsItWasWritten) {
  const TempDir dir;
  const std::string path = dir / "not/there/yet/record", content("a\0b\n", 4);
  EXPECT_TRUE(write_small_file(path, content));
  EXPECT_EQ(read_small_file(path, 4), content);
  EXPECT_EQ(read_small_file(path, 3), std::nullopt);  // larger
  EXPECT_TRUE(write_small_file(path, ""));
  EXPECT_EQ(read_small_file(path, 0), "");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "not/there/yet"), {}), 1);
}

TEST(SmallFile, WhatIsNoFileIsNothing) {
  const TempDir dir;
  EXPECT_EQ(read_small_file(dir / "gone", 100), std::nullopt);
  EXPECT_EQ(read_small_file(dir.path(), 1 << 20), std::nullopt);
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_small_file(dir / "fifo", 100), std::nullopt);  // and does not wait for a writer
  EXPECT_EQ(read_small_file("/dev/zero", 100), std::nullopt);
  fs::create_symlink(dir / "link", dir / "link");
  EXPECT_EQ(read_small_file(dir / "link", 100), std::nullopt);
}

TEST(SmallFile, WhatCannotBeWrittenLeavesNothingBehind) {
  const TempDir dir;
  fs::create_directories(dir / "folder/inside");
  EXPECT_FALSE(write_small_file(dir / "folder", "x"));
  EXPECT_FALSE(write_small_file("/proc/nowhere/x", "x"));
  EXPECT_FALSE(write_small_file("/dev/null/x", "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), {}), 1);
}

}  // namespace
}  // namespace flashmoe
