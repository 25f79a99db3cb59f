#include "chat/markdown_stream.h"

#include <gtest/gtest.h>

#include "chat/markdown.h"
#include "small_terminal.h"
#include "support/random.h"

namespace flashmoe {
namespace {

constexpr const char* kDocuments[] = {
    "Plain text that goes on for a while, so that it wraps at the end of a line, and once more.\n\nAnother paragraph.",
    "# Title\n\nSome **bold text**, *italic* and `code` in a line.\n\n## Next\n\n- one\n- two **three**\n  - inner\n- "
    "four\n\nEnd.",
    "Code:\n\n```python\ndef f(x):\n\n    return x  # **not bold**\n```\n\nAfter it.",
    "| a | b |\n|---|--:|\n| one | 1 |\n| a longer cell | 22 |\n\nAfter the table [a link](https://x.example) and "
    "2*3*4.",
    "1. first\n\n   more of it\n\n2. second\n\n> quoted **words**\n> go on\n\n---\n\nlast * star and ** two",
    "Wide 日本語の文章がここにありますので、行の終わりで折り返します。 **太字** and "
    "🙂 "
    "emoji.\n\nSetext\n===\n\ntext",
    "`` code with ` in it `` and ***both* mixed** ![i](u) [not a link] \\*escaped\\* a_b_c &amp; &#65;",
};

// The document in pieces of 1 to `most` bytes, as a model hands out whole characters.
std::string streamed(const std::string& document, SmallTerminal& terminal, uint64_t seed, uint64_t most) {
  Random random(seed);
  MarkdownStream stream(terminal.screen());
  for (size_t at = 0; at < document.size();) {
    size_t n = 1 + static_cast<size_t>(random.next() % most);
    n = std::min(n, document.size() - at);
    while (at + n < document.size() && (static_cast<unsigned char>(document[at + n]) & 0xC0) == 0x80) ++n;
    stream.add(std::string_view(document).substr(at, n));
    at += n;
  }
  stream.end();
  return terminal.text();
}

std::string at_once(const std::string& document, int columns, int rows) {
  SmallTerminal terminal(columns, rows);
  MarkdownStream stream(terminal.screen());
  stream.add(document);
  stream.end();
  return terminal.text();
}

TEST(MarkdownStreamTest, AnyPiecesShowTheSame) {
  for (const int columns : {30, 80}) {
    for (const char* document : kDocuments) {
      const std::string expected = at_once(document, columns, 24);
      for (uint64_t seed = 0; seed < 20; ++seed) {
        SmallTerminal terminal(columns, 24);
        EXPECT_EQ(streamed(document, terminal, seed, seed < 10 ? 4 : 30), expected) << document;
        EXPECT_EQ(terminal.unknown(), "");
        EXPECT_LT(terminal.widest(), columns);
      }
    }
  }
}

TEST(MarkdownStreamTest, BlocksInPiecesAreTheDocument) {
  for (const char* document : kDocuments) {
    std::string whole;
    for (const Line& line : render_markdown(document, 79)) {
      std::string text = plain_text(line);
      text.resize(text.find_last_not_of(' ') + 1);
      whole += text + "\n";
    }
    EXPECT_EQ(at_once(document, 80, 100), whole);
  }
}

TEST(MarkdownStreamTest, TextOnlyGrows) {
  // Nothing that has been shown is erased while emphasis, code and links come in.
  const std::string text =
      "Some **bold words** and `a bit of code` here, *emphasis*, then [a link](https://x.example) and more.\n\n"
      "- first **item** of a list\n- second one\n\n```\nint x;\nint y;\n```\n\nEnd";
  for (const int columns : {80, 60, 40}) {
    SmallTerminal terminal(columns, 24);
    MarkdownStream stream(terminal.screen());
    for (const char byte : text) stream.add(std::string_view(&byte, 1));
    stream.end();
    EXPECT_EQ(terminal.n_erasures(), 0) << columns;
  }
}

TEST(MarkdownStreamTest, TextIsShownBeforeItsBlockEnds) {
  SmallTerminal terminal(60, 24);
  MarkdownStream stream(terminal.screen());
  stream.add("The **first wor");
  EXPECT_EQ(terminal.text(), "The first wor\n");
  stream.add("ds** are");
  EXPECT_EQ(terminal.text(), "The first words are\n");
  stream.add("\n\n```\nint x");
  EXPECT_EQ(terminal.text(), "The first words are\n\n  int x\n");
}

TEST(MarkdownStreamTest, FinishedBlocks) {
  EXPECT_EQ(finished_block("one\ntwo"), std::string_view::npos);
  EXPECT_EQ(finished_block("one\n\ntwo is next"), 5U);
  EXPECT_EQ(finished_block("one\n\n"), std::string_view::npos);
  EXPECT_EQ(finished_block("```\na\n\nbcdefgh\n"), std::string_view::npos);
  EXPECT_EQ(finished_block("```\na\n```\n\nafter\n"), 11U);
  EXPECT_EQ(finished_block("- a\n\n- b is an item\n"), std::string_view::npos);
  EXPECT_EQ(finished_block("- a\n\n  goes on\n"), std::string_view::npos);
  EXPECT_EQ(finished_block("- a\n\nafter\n"), 5U);
}

TEST(MarkdownStreamTest, WhatIsHeldBack) {
  EXPECT_EQ(showable("text *"), "text ");
  EXPECT_EQ(showable("text **bo"), "text **bo**");
  EXPECT_EQ(showable("a `co"), "a `co`");
  EXPECT_EQ(showable("see [the li"), "see ");
  EXPECT_EQ(showable("see [x](http"), "see ");
  EXPECT_EQ(showable("text\n#"), "text\n");
  EXPECT_EQ(showable("| a | b |"), "");
  EXPECT_EQ(showable("| a | b |\n|---|---|\n| 1"), "| a | b |\n|---|---|\n");
  EXPECT_EQ(showable("```\ncode\n``"), "```\ncode\n");
  EXPECT_EQ(showable("a * b"), "a * b");
  EXPECT_EQ(showable("- **x\n- y"), "- **x\n- y");
}

TEST(MarkdownStreamTest, TallBlocksLeaveTheScreenInOrder) {
  std::string list;
  for (int i = 1; i <= 60; ++i) list += std::to_string(i) + ". item **number** " + std::to_string(i) + "\n";
  SmallTerminal terminal(40, 10);
  EXPECT_EQ(streamed(list, terminal, 3, 5), at_once(list, 40, 100));
}

}  // namespace
}  // namespace flashmoe
