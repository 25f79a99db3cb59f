#include "chat/confined_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr size_t kMost = 1000;

// With what the kernel resolves, and without.
class ConfinedFolderTest : public testing::TestWithParam<bool> {
 protected:
  ConfinedFolderTest() {
    dir_.write("outside.txt", "secret");
    dir_.write("outside/inner.txt", "secret");
    dir_.write("work/a.txt", "inside");
    dir_.write("work/sub/b.txt", "deeper");
    folder_ = std::make_unique<ConfinedFolder>(dir_ / "work", GetParam());
  }
  void link(const std::string& target, const std::string& name) {
    ASSERT_EQ(::symlink(target.c_str(), (dir_ / ("work/" + name)).c_str()), 0);
  }
  std::string read(const std::string& path) {
    size_t total = 0;
    return folder_->read(path, kMost, &total);
  }

  TempDir dir_;
  std::unique_ptr<ConfinedFolder> folder_;
};

TEST_P(ConfinedFolderTest, ReadsInside) {
  EXPECT_EQ(read("a.txt"), "inside");
  EXPECT_EQ(read("./sub//b.txt"), "deeper");
  EXPECT_EQ(read(folder_->path() + "/sub/b.txt"), "deeper");
  size_t total = 0;
  EXPECT_EQ(folder_->read("a.txt", 3, &total), "ins");
  EXPECT_EQ(total, 6U);
}

TEST_P(ConfinedFolderTest, NothingLeadsOut) {
  link("../outside.txt", "link");
  link(dir_ / "outside.txt", "absolute");
  link("..", "up");
  link("../outside", "folder");
  link("sub/../../outside.txt", "winding");
  for (const std::string path : {"../outside.txt", "sub/../../outside.txt", "link", "absolute", "up/outside.txt",
                                 "folder/inner.txt", "winding", "/etc/passwd", "sub/../../work/../outside.txt"}) {
    expect_error([&] { read(path); }, Fault::io, {path, "leads out"});
    expect_error([&] { folder_->list(path); }, Fault::io, {path});
  }
  expect_error([&] { read(dir_ / "outside.txt"); }, Fault::io, {"leads out"});
  expect_error([&] { read(folder_->path() + "/../outside.txt"); }, Fault::io, {"leads out"});
  expect_error([&] { read("/proc/self/root/etc/passwd"); }, Fault::io, {"leads out"});
}

TEST_P(ConfinedFolderTest, NothingIsWrittenOutside) {
  link("../outside.txt", "link");
  link("../outside", "folder");
  link("../made.txt", "dangling");
  for (const std::string path : {"../made.txt", "folder/made.txt", "/made-by-flashmoe.txt", "../new/made.txt", "link",
                                 "dangling", "sub/..", ".", ""}) {
    expect_error([&] { folder_->write(path, "x"); }, Fault::io, {path});
  }
  EXPECT_EQ(read_bytes(dir_ / "outside.txt"), "secret");
  EXPECT_NE(::access((dir_ / "made.txt").c_str(), F_OK), 0);
  EXPECT_NE(::access((dir_ / "outside/made.txt").c_str(), F_OK), 0);
  EXPECT_NE(::access((dir_ / "new").c_str(), F_OK), 0);
}

TEST_P(ConfinedFolderTest, WritesInside) {
  folder_->write("new/deep/c.txt", "made");
  EXPECT_EQ(read_bytes(dir_ / "work/new/deep/c.txt"), "made");
  ASSERT_EQ(::chmod((dir_ / "work/a.txt").c_str(), 0640), 0);
  folder_->write("a.txt", "again");
  EXPECT_EQ(read_bytes(dir_ / "work/a.txt"), "again");
  struct stat status = {};
  ASSERT_EQ(::stat((dir_ / "work/a.txt").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
  EXPECT_EQ(folder_->list(".").size(), 3U);  // nothing partial is left
}

TEST_P(ConfinedFolderTest, OnlyRegularFiles) {
  ASSERT_EQ(::mkfifo((dir_ / "work/pipe").c_str(), 0600), 0);
  expect_error([&] { read("pipe"); }, Fault::io, {"pipe", "not a regular file"});
  expect_error([&] { folder_->write("pipe", "x"); }, Fault::io, {"pipe", "not a regular file"});
  expect_error([&] { read("sub"); }, Fault::io, {"sub", "directory"});
  expect_error([&] { folder_->write("sub", "x"); }, Fault::io, {"sub"});
  expect_error([&] { read("none"); }, Fault::io, {"none", "No such file"});
  expect_error([&] { read(""); }, Fault::io, {"No such file"});
  expect_error([&] { read(std::string("a.txt\0x", 7)); }, Fault::io, {"Invalid"});
  expect_error([&] { folder_->write(std::string("a\0x", 3), "x"); }, Fault::io, {"Invalid"});
  expect_error([&] { read("a.txt/x"); }, Fault::io, {"a.txt/x"});
}

TEST_P(ConfinedFolderTest, Lists) {
  link("a.txt", "link");
  const auto entries = folder_->list(".");
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].name + entries[0].kind, "a.txtf");
  EXPECT_EQ(entries[0].n_bytes, 6U);
  EXPECT_EQ(entries[1].name + entries[1].kind, "linkl");
  EXPECT_EQ(entries[2].name + entries[2].kind, "subd");
}

INSTANTIATE_TEST_SUITE_P(Kernels, ConfinedFolderTest, testing::Bool());

TEST(ConfinedFolderLinksTest, LinksThatStayInsideAreFollowedWhereTheKernelResolves) {
  const TempDir dir;
  dir.write("work/a.txt", "inside");
  ASSERT_EQ(::symlink("a.txt", (dir / "work/link").c_str()), 0);
  size_t total = 0;
  expect_error([&] { ConfinedFolder(dir / "work", true).read("link", kMost, &total); }, Fault::io, {"link"});
  try {
    EXPECT_EQ(ConfinedFolder(dir / "work").read("link", kMost, &total), "inside");
  } catch (const Error& error) {
    GTEST_SKIP() << "this kernel has no openat2: " << error.what();
  }
}

TEST(ConfinedFolderLinksTest, NoFolder) {
  const TempDir dir;
  expect_error([&] { ConfinedFolder(dir / "none"); }, Fault::usage, {"none", "No such file"});
  expect_error([&] { ConfinedFolder(dir.write("file", "x")); }, Fault::usage, {"file", "Not a directory"});
}

}  // namespace
}  // namespace flashmoe
