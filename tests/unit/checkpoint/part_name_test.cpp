#include "checkpoint/part_name.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

TEST(PartName, TakesNamesApart) {
  const auto part = parse_part_name("a-b-00002-of-00013.gguf");
  ASSERT_TRUE(part);
  EXPECT_EQ(part->prefix, "a-b");
  EXPECT_EQ(part->number, 2u);
  EXPECT_EQ(part->count, 13u);
  EXPECT_EQ(part->name_of(13), "a-b-00013-of-00013.gguf");
  for (const char* name :
       {"a.gguf", "-of-", "a-00002-of-00001.gguf", "a-00000-of-00001.gguf", "a-1-of-2.gguf", "a-00001-of-00002",
        "a00001-of-00002.gguf", "a-0000x-of-00002.gguf", "00001-of-00002.gguf"}) {
    EXPECT_FALSE(parse_part_name(name)) << name;
  }
}

}  // namespace
}  // namespace flashmoe
