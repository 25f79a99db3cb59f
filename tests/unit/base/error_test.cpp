#include "base/error.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

TEST(ErrorTest, BytesOutOfAFileNeitherCutTheMessageNorSteerATerminal) {
  const Error error(Fault::input, std::string("name 'a\0b\x1b[2J\x7f' is\nwrong: ä", 28));
  EXPECT_STREQ(error.what(), "name 'a\\x00b\\x1b[2J\\x7f' is wrong: ä");
  EXPECT_STREQ(Error(Fault::memory_floor, "a\nb\tc").what(), "a\nb\\x09c");  // a table
}

TEST(ErrorTest, FailFormats) {
  try {
    fail(Fault::unsupported, "{} of {}", 1, "two");
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::unsupported);
    EXPECT_STREQ(error.what(), "1 of two");
  }
}

}  // namespace
}  // namespace flashmoe
