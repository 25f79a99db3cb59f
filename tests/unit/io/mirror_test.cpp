#include "io/mirror.h"

#include <gtest/gtest.h>

#include <string>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

class MirrorTest : public testing::Test {
 protected:
  MirrorTest() : bytes_(3'000'000, '\0') {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i * 31 + (i >> 8));
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
  const auto copies = open_mirror(files_, folder_ / "b");
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
    expect_refused(Fault::input, {"b/one is no copy", "differ at offset " + std::to_string(at)});
  }
  folder_.write("b/one", bytes_);
  folder_.write("b/two", "shirt");
  expect_refused(Fault::input, {"b/two is no copy", "offset 2"});
}

TEST_F(MirrorTest, AnotherModelOfTheSameSizeIsFoundBySamples) {
  std::string other = bytes_;
  for (size_t i = 1'000'000; i < 1'100'000; ++i) other[i] ^= 1;
  folder_.write("b/one", other);
  expect_refused(Fault::input, {"b/one is no copy"});
}

TEST_F(MirrorTest, MissingFilesAndFolders) {
  expect_error([&] { open_mirror(files_, folder_ / "c"); }, Fault::io, {"c/one", "No such file"});
}

}  // namespace
}  // namespace flashmoe
