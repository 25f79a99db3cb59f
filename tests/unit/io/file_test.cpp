#include "io/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/patterned_bytes.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

std::string read(const File& file, uint64_t offset, size_t n_bytes) {
  std::string bytes(n_bytes, '\0');
  file.read(offset, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

TEST(File, ReadsAnywhere) {
  const TempDir folder;
  const std::string bytes = patterned_bytes(100'000);
  const auto file = open_file(folder.write("f", bytes));
  EXPECT_EQ(file->path(), folder / "f");
  EXPECT_EQ(file->size(), bytes.size());
  EXPECT_EQ(read(*file, 0, bytes.size()), bytes);
  EXPECT_EQ(read(*file, 99'999, 1), bytes.substr(99'999));
  EXPECT_EQ(read(*file, 12'345, 6'789), bytes.substr(12'345, 6'789));
  EXPECT_EQ(read(*file, 5, 0), "");
  file->drop_page_cache();
  EXPECT_EQ(read(*file, 4'000, 5'000), bytes.substr(4'000, 5'000));
}

TEST(File, ReadPastTheEndTellsWhatIsMissing) {
  const TempDir folder;
  const auto file = open_file(folder.write("short", patterned_bytes(10)));
  expect_error([&] { read(*file, 8, 5); }, Fault::io, {folder / "short", "offset 10", "3 bytes early"});
  expect_error([&] { read(*file, 10, 1); }, Fault::io, {"offset 10", "1 bytes early"});
  expect_error([&] { read(*file, UINT64_MAX - 4, 1); }, Fault::io, {"short"});
}

TEST(File, SeesAFileCutShortWhileOpen) {
  const TempDir folder;
  const auto file = open_file(folder.write("f", patterned_bytes(8192)));
  ASSERT_EQ(::truncate((folder / "f").c_str(), 100), 0);
  expect_error([&] { read(*file, 0, 8192); }, Fault::io, {"offset 100", "8092 bytes early"});
}

TEST(File, RefusesWhatIsNoFile) {
  const TempDir folder;
  expect_error([&] { open_file(folder / "absent"); }, Fault::io, {"absent", "No such file"});
  expect_error([&] { open_file(folder.path()); }, Fault::io, {folder.path(), "folder"});
  expect_error([&] { open_file(std::string("a\0b", 3)); }, Fault::io, {"zero byte"});
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error([&] { open_file(pipe); }, Fault::io, {"pipe", "regular file"});
}

TEST(File, RefusesWhatMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const TempDir folder;
  const std::string path = folder.write("secret", "x");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  expect_error([&] { open_file(path); }, Fault::io, {"secret", "Permission denied"});
}

TEST(File, BufferedDescriptorReadsTheFile) {
  const TempDir folder;
  const std::string bytes = patterned_bytes(5000);
  const auto file = open_file(folder.write("f", bytes));
  std::string got(bytes.size(), '\0');
  ASSERT_EQ(::pread(file->buffered_fd(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size()));
  EXPECT_EQ(got, bytes);
}

}  // namespace
}  // namespace flashmoe
