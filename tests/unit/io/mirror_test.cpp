#include "io/mirror.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "support/expect_error.h"
#include "support/patterned_bytes.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

class MirrorTest : public testing::Test {
 protected:
  MirrorTest() : bytes_(patterned_bytes(3'000'000)) {
    files_ = {open_file(folder_.write("a/one", bytes_)), open_file(folder_.write("a/two", "short"))};
    folder_.write("b/one", bytes_);
    folder_.write("b/two", "short");
  }
  void expect_refused(Fault fault, std::initializer_list<std::string_view> needles) {
    expect_error([&] { open_mirror(files_, folder_ / "b"); }, fault, needles);
  }

  TempDir folder_;
  std::string bytes_;
  std::vector<std::shared_ptr<File>> files_;
};

TEST_F(MirrorTest, CopiesAreOpenedInTheSameOrder) {
  const Mirror mirror = open_mirror(files_, folder_ / "b");
  EXPECT_EQ(mirror.remark, "");
  const auto& copies = mirror.files;
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0]->path(), folder_ / "b/one");
  EXPECT_EQ(copies[1]->path(), folder_ / "b/two");
}

TEST_F(MirrorTest, AnotherSizeIsNoCopy) {
  folder_.write("b/two", "shorter");
  expect_refused(Fault::input, {"--mirror", "b/two has 7 bytes", "a/two has 5"});
}

TEST_F(MirrorTest, OtherBytesInTheHeaderOrAtTheEndAreNoCopy) {
  for (const size_t at : {size_t{0}, size_t{200'000}, bytes_.size() - 1}) {
    std::string other = bytes_;
    other[at] ^= 1;
    folder_.write("b/one", other);
    expect_refused(Fault::input,
                   {"--mirror", "b/one and ", "a/one differ at offset " + std::to_string(at), "find out which"});
  }
  folder_.write("b/one", bytes_);
  folder_.write("b/two", "shirt");
  expect_refused(Fault::input, {"b/two and ", "a/two differ at offset 2:"});
}

TEST_F(MirrorTest, AnotherModelOfTheSameSizeIsFoundBySamples) {
  std::string other = bytes_;
  for (size_t i = 1'000'000; i < 1'100'000; ++i) other[i] ^= 1;
  folder_.write("b/one", other);
  expect_refused(Fault::input, {"b/one and ", "differ at offset"});
}

// A file that cannot be read from byte `first` to `end`.
class BadSector final : public File {
 public:
  BadSector(std::shared_ptr<File> file, uint64_t first, uint64_t end)
      : file_(std::move(file)), first_(first), end_(end) {}
  const std::string& path() const override { return file_->path(); }
  uint64_t size() const override { return file_->size(); }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset < end_ && offset + out.size() > first_) fail(Fault::io, "{}: Input/output error", path());
    file_->read(offset, out);
  }
  int buffered_fd() const override { return file_->buffered_fd(); }
  int direct_fd() const override { return file_->direct_fd(); }
  void drop_page_cache(uint64_t, uint64_t) const override {}

 private:
  std::shared_ptr<File> file_;
  uint64_t first_, end_;
};

TEST_F(MirrorTest, WhatCannotBeReadIsNotComparedAndTold) {
  files_[0] = std::make_shared<BadSector>(files_[0], bytes_.size() - 1, bytes_.size());
  const Mirror mirror = open_mirror(files_, folder_ / "b");
  EXPECT_EQ(mirror.files.size(), 2u);
  EXPECT_NE(mirror.remark.find("1 place not compared with"), std::string::npos) << mirror.remark;
  EXPECT_NE(mirror.remark.find("a/one: Input/output error"), std::string::npos) << mirror.remark;
  std::string other = bytes_;
  other[0] ^= 1;
  folder_.write("b/one", other);
  expect_refused(Fault::input, {"differ at offset 0"});
}

TEST_F(MirrorTest, WhereNothingCanBeComparedItIsRefused) {
  files_[0] = std::make_shared<BadSector>(files_[0], 0, bytes_.size());
  expect_refused(Fault::io, {"--mirror", "a/one: Input/output error"});
}

TEST_F(MirrorTest, MissingFilesAndFolders) {
  expect_error([&] { open_mirror(files_, folder_ / "c"); }, Fault::io, {"c/one", "No such file"});
}

}  // namespace
}  // namespace flashmoe
