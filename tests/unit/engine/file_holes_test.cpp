#include "engine/file_holes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

constexpr uint64_t kHole = 64 * kKiB;  // more than a block of any file system

class FileHolesTest : public testing::Test {
 protected:
  void SetUp() override {
    TinyModelOptions tiny;
    tiny.n_experts = 48;
    path_ = write_tiny_model(dir_.path(), tiny);
  }
  // The model without `bytes` at `offset`, which are a hole; false where the file system has none.
  bool punch(uint64_t offset, uint64_t bytes) const {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    const bool done = ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                  static_cast<off_t>(bytes)) == 0 &&
                      ::fsync(fd) == 0 && ::lseek(fd, 0, SEEK_HOLE) < ::lseek(fd, 0, SEEK_END);
    ::close(fd);
    return done;
  }
  std::vector<FileHole> holes() const {
    const auto checkpoint = Checkpoint::open(path_);
    return holes_in_tensors(*checkpoint, checkpoint->files());
  }

  TempDir dir_;
  std::string path_;
};

TEST_F(FileHolesTest, AWholeFileHasNone) { EXPECT_TRUE(holes().empty()); }

TEST_F(FileHolesTest, OneInATensorIsFound) {
  const auto checkpoint = Checkpoint::open(path_);
  const auto& tensors = checkpoint->tensors();
  const auto& [name, tensor] = *std::ranges::max_element(tensors, {}, [](const auto& t) { return t.second.bytes; });
  ASSERT_GE(tensor.bytes, 3 * kHole);
  const uint64_t offset = round_up(tensor.offset, kHole);
  if (!punch(offset, kHole)) GTEST_SKIP() << dir_.path() << ": the file system has no holes";
  const auto found = holes();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].tensor, name);
  EXPECT_EQ(found[0].offset, offset);
  EXPECT_EQ(found[0].bytes, kHole);
  EXPECT_NE(told(found).find(name), std::string::npos) << told(found);
  EXPECT_NE(told(found).find(path_), std::string::npos) << told(found);
}

// A file whose last tensors never came, but whose size is right.
TEST_F(FileHolesTest, AnEndThatWasNeverWrittenIsFound) {
  const std::string bytes = read_bytes(path_);
  const auto half = static_cast<off_t>(round_down(bytes.size() / 2, kHole));
  if (::truncate(path_.c_str(), half) != 0 || ::truncate(path_.c_str(), static_cast<off_t>(bytes.size())) != 0 ||
      !punch(static_cast<uint64_t>(half), bytes.size() - static_cast<uint64_t>(half))) {
    GTEST_SKIP() << dir_.path() << ": the file system has no holes";
  }
  const auto found = holes();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].offset, static_cast<uint64_t>(half));
}

TEST_F(FileHolesTest, OneOutsideOfTensorsIsNot) {
  const std::string bytes = read_bytes(path_);
  const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  const bool longer = ::ftruncate(fd, static_cast<off_t>(bytes.size() + 4 * kHole)) == 0;
  const bool has_holes = ::lseek(fd, 0, SEEK_HOLE) < ::lseek(fd, 0, SEEK_END);
  ::close(fd);
  ASSERT_TRUE(longer);
  if (!has_holes) GTEST_SKIP() << dir_.path() << ": the file system has no holes";
  EXPECT_TRUE(holes().empty());
}

}  // namespace
}  // namespace flashmoe
