#include "chat/styled_line.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

std::vector<std::string> texts(const std::vector<Line>& lines) {
  std::vector<std::string> out;
  for (const Line& line : lines) out.push_back(plain_text(line));
  return out;
}

using Texts = std::vector<std::string>;

TEST(StyledLineTest, BreaksAtSpaces) {
  EXPECT_EQ(texts(wrap({{kPlain, "one two three four"}}, 9)), (Texts{"one two", "three", "four"}));
  EXPECT_EQ(texts(wrap({{kPlain, "12345678 abcdefgh"}}, 8)), (Texts{"12345678", "abcdefgh"}));
  EXPECT_EQ(texts(wrap({{kPlain, ""}}, 10)), (Texts{""}));
}

TEST(StyledLineTest, BreaksLongWordsAndBetweenWideCharacters) {
  EXPECT_EQ(texts(wrap({{kPlain, "abcdefghijklmnopqrst"}}, 10)), (Texts{"abcdefghij", "klmnopqrst"}));
  EXPECT_EQ(texts(wrap({{kPlain, "日本語日本語"}}, 9)), (Texts{"日本語日", "本語"}));  // half a character does not fit
}

TEST(StyledLineTest, AWordInTwoStylesStaysTogether) {
  const std::vector<Line> lines = wrap({{kPlain, "seven cha"}, {kBold, "racters"}}, 12);
  EXPECT_EQ(texts(lines), (Texts{"seven", "characters"}));
  EXPECT_EQ(lines[1], (Line{{kPlain, "cha"}, {kBold, "racters"}}));
}

TEST(StyledLineTest, IndentsFirstAndFurtherLines) {
  EXPECT_EQ(texts(wrap({{kPlain, "one two three"}}, 9, {{{kPlain, "- "}}, {{kPlain, "  "}}})),
            (Texts{"- one two", "  three"}));
}

TEST(StyledLineTest, CodeKeepsItsSpaces) {
  EXPECT_EQ(texts(wrap({{kCoded, "  if x:\n    y"}}, 20, {}, Spaces::keep)), (Texts{"  if x:", "    y"}));
  EXPECT_EQ(texts(wrap({{kCoded, "a\tb"}}, 20, {}, Spaces::keep)), (Texts{"a    b"}));
  EXPECT_EQ(texts(wrap({{kCoded, "abcdef ghijkl"}}, 8, {}, Spaces::keep)), (Texts{"abcdef g", "hijkl"}));
}

TEST(StyledLineTest, AnIndentWiderThanTheTerminalLeavesRoom) {
  for (const Line& line : wrap({{kPlain, "some words"}}, 4, {{{kPlain, "          "}}, {{kPlain, "          "}}})) {
    EXPECT_LE(columns_of(line), 18);
  }
}

TEST(StyledLineTest, AnsiEndsPlain) {
  EXPECT_EQ(ansi_text({{kPlain, "a"}}), "a");
  EXPECT_EQ(ansi_text({{kBold, "a"}}), "\033[0;1ma\033[0m");
  EXPECT_EQ(ansi_text({{kBold, "a"}, {kPlain, "b"}}), "\033[0;1ma\033[0mb");
}

}  // namespace
}  // namespace flashmoe
