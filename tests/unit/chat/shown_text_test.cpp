#include "chat/shown_text.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

TEST(ShownTextTest, ColumnsOfWideAndCombiningCharacters) {
  EXPECT_EQ(columns_of("abc"), 3);
  EXPECT_EQ(columns_of("日本語"), 6);
  EXPECT_EQ(columns_of("e\u0301"), 1);  // e and an accent on it
  EXPECT_EQ(columns_of("한글"), 4);
  EXPECT_EQ(columns_of("🙂"), 2);
  EXPECT_EQ(columns_of("ä€"), 2);
  EXPECT_EQ(columns_of(""), 0);
}

TEST(ShownTextTest, WhatSteersTheTerminalIsShown) {
  EXPECT_EQ(harmless("a\033[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(harmless("\x07\x08\x7f"), "\\x07\\x08\\x7f");
  EXPECT_EQ(harmless("\u009b31m"), "\\x9b31m");                 // CSI in one character
  EXPECT_EQ(harmless("a\u202eb\u2066c"), "a\\u202eb\\u2066c");  // reversed writing
  EXPECT_EQ(harmless(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(harmless("a\rb"), "a\\x0db");
}

TEST(ShownTextTest, WhatIsHarmlessStays) { EXPECT_EQ(harmless("a\tb\r\nc ä 日本 🙂"), "a\tb\nc ä 日本 🙂"); }

TEST(ShownTextTest, WhatIsNotUtf8IsReplaced) {
  EXPECT_EQ(harmless("a\xff"
                     "b\xc3"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
}

TEST(ShownTextTest, ShortenedFitsItsColumns) {
  EXPECT_EQ(shortened("a short one", 20), "a short one");
  EXPECT_EQ(shortened("two\nlines", 20), "two lines");
  EXPECT_EQ(shortened("abcdefghijkl", 8), "abcde...");
  EXPECT_EQ(shortened("日本語日本語", 8), "日本...");
}

}  // namespace
}  // namespace flashmoe
