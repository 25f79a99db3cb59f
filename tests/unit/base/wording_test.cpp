#include "flashmoe/wording.h"

#include <gtest/gtest.h>

#include <limits>

namespace flashmoe {
namespace {

TEST(Wording, SizesHaveThreeDigits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.00 KB");
  EXPECT_EQ(human_bytes(576 * 1000), "576 KB");
  EXPECT_EQ(human_bytes(19'600'000'000), "19.6 GB");
  EXPECT_EQ(human_bytes(9'994'000), "9.99 MB");
  EXPECT_EQ(human_bytes(9'996'000), "10.0 MB");
  EXPECT_EQ(human_bytes(99'960'000), "100 MB");
  EXPECT_EQ(human_bytes(999'600'000), "1.00 GB");
  EXPECT_EQ(human_bytes(std::numeric_limits<uint64_t>::max()), "18.4 EB");
}

TEST(Wording, ControlBytesOfNamesAreShown) {
  EXPECT_EQ(without_controls(std::string_view("a\0b\x1b[2J\n\x7f \xc3\xa4", 12)), "a\\x00b\\x1b[2J\\x0a\\x7f \xc3\xa4");
}

}  // namespace
}  // namespace flashmoe
