#include "io/page_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr size_t kBytes = 4 << 20;

// Pages that were written back can be dropped; those of a file system that lives in memory never.
class PageCacheTest : public testing::Test {
 protected:
  PageCacheTest() : path_(folder_.write("file", std::string(kBytes, 'f'))), file_(open_file(path_)) { ::sync(); }

  void SetUp() override {
    if (!PageCache(*file_).drop(0, kBytes)) GTEST_SKIP() << path_ << " lies on a file system that keeps its pages";
  }
  void read(uint64_t offset, size_t bytes) const {
    std::vector<std::byte> out(bytes);
    file_->read(offset, out);
  }

  TempDir folder_;
  std::string path_;
  std::shared_ptr<File> file_;
};

TEST_F(PageCacheTest, TellsWhatShareIsThere) {
  PageCache cache(*file_);
  EXPECT_EQ(cache.share(64), 0);
  read(0, kBytes);
  EXPECT_EQ(cache.share(64), 1);
  EXPECT_EQ(cache.share(1 << 20), 1);  // more than it has
  EXPECT_TRUE(cache.drop(0, kBytes / 2));
  EXPECT_NEAR(cache.share(64), .5, .02);
  EXPECT_NEAR(cache.share(1 << 20), .5, .02);
}

TEST_F(PageCacheTest, DropsFromAnyOffset) {
  read(0, kBytes);
  PageCache cache(*file_);
  EXPECT_TRUE(cache.drop(kBytes / 2 + 65536, 65536));
  EXPECT_FALSE(cache.drop(kBytes / 2 + 512, 512));  // a part of a page stays
}

TEST(PageCacheOfNothing, CountsAsCached) {
  const TempDir folder;
  const auto file = open_file(folder.write("empty", ""));
  EXPECT_EQ(PageCache(*file).share(64), 1);
}

}  // namespace
}  // namespace flashmoe
