#include "chat/markdown.h"

#include <gtest/gtest.h>

#include <string>

namespace flashmoe {
namespace {

std::string plain(std::string_view markdown, int columns = 40) {
  std::string out;
  for (const Line& line : render_markdown(markdown, columns)) out += plain_text(line) + "\n";
  return out;
}

// The style of the first span with this text.
int style_of(std::string_view markdown, std::string_view text) {
  for (const Line& line : render_markdown(markdown, 80)) {
    for (const Span& span : line) {
      if (span.text.find(text) != std::string::npos) return span.style;
    }
  }
  return -1;
}

TEST(MarkdownTest, Paragraphs) {
  EXPECT_EQ(plain("one\n\ntwo"), "one\n\ntwo\n");
  EXPECT_EQ(plain("a line\nits break stays"), "a line\nits break stays\n");
  EXPECT_EQ(plain(""), "");
}

TEST(MarkdownTest, InlineStyles) {
  const std::string text = "a **bold** *italic* `code` ~~gone~~ ***both***";
  EXPECT_EQ(plain(text, 80), "a bold italic code gone both\n");
  EXPECT_EQ(style_of(text, "bold"), kBold);
  EXPECT_EQ(style_of(text, "italic"), kItalic);
  EXPECT_EQ(style_of(text, "code"), kCoded);
  EXPECT_EQ(style_of(text, "gone"), kStruck);
  EXPECT_EQ(style_of(text, "both"), kBold | kItalic);
  EXPECT_EQ(style_of(text, "a "), kPlain);
}

TEST(MarkdownTest, Headings) {
  EXPECT_EQ(plain("# Top\ntext\n## Below\nmore"), "Top\n\ntext\n\nBelow\n\nmore\n");
  EXPECT_EQ(style_of("# Top", "Top"), kBold | kUnderlined);
  EXPECT_EQ(style_of("### Third", "Third"), kBold);
  EXPECT_EQ(style_of("# Top\ntext", "text"), kPlain);
}

TEST(MarkdownTest, CodeBlocksKeepEverything) {
  EXPECT_EQ(plain("```cpp\nint  x = 1;\n\n  // **no** bold\n```"), "  int  x = 1;\n  \n    // **no** bold\n");
  EXPECT_EQ(style_of("```\nx\n```", "x"), kCoded);
  EXPECT_EQ(plain("~~~\nwide line of code here\n~~~", 14), "  wide line of\n   code here\n");
}

TEST(MarkdownTest, Lists) {
  EXPECT_EQ(plain("- one\n- two\n  - inner\n- three"), "• one\n• two\n  • inner\n• three\n");
  EXPECT_EQ(plain("3. a\n4. b"), "3. a\n4. b\n");
  EXPECT_EQ(plain("- loose\n\n- items"), "• loose\n• items\n");
  EXPECT_EQ(plain("- [ ] open\n- [x] done"), "[ ] open\n[x] done\n");
  EXPECT_EQ(plain("- some words that wrap", 16), "• some words\n  that wrap\n");
  EXPECT_EQ(plain("text\n\n- item\n\nmore"), "text\n\n• item\n\nmore\n");
  EXPECT_EQ(plain("1. first\n\n   ```\n   code\n   ```\n2. second"), "1. first\n     code\n2. second\n");
  EXPECT_EQ(plain("-\n- x"), "• \n• x\n");
}

TEST(MarkdownTest, Quotes) {
  EXPECT_EQ(plain("> said\n> twice\n\nafter"), "│ said\n│ twice\n\nafter\n");
  EXPECT_EQ(plain("> one\n>\n> two"), "│ one\n│ \n│ two\n");
}

TEST(MarkdownTest, LinksShowWhereTheyLead) {
  EXPECT_EQ(plain("[here](https://a.example)", 80), "here (https://a.example)\n");
  EXPECT_EQ(plain("<https://a.example>", 80), "https://a.example\n");
  EXPECT_EQ(plain("[https://good.example](https://bad.example)", 80), "https://good.example (https://bad.example)\n");
  EXPECT_EQ(plain("![alt](pic.png)", 80), "[image: alt] (pic.png)\n");
}

TEST(MarkdownTest, Tables) {
  EXPECT_EQ(plain("| a | bb |\n|---|---:|\n| long cell | 1 |\n| x | 22 |"),
            "a          bb\n─────────  ──\nlong cell   1\nx          22\n");
  EXPECT_EQ(plain("| name | 数 |\n|---|---|\n| 日本 | x |"), "name  数\n────  ──\n日本  x\n");
}

TEST(MarkdownTest, TablesFitTheTerminal) {
  const std::string table = "| first | second |\n|---|---|\n| a cell with many words | another one of these |\n";
  for (const int columns : {60, 40, 24, 16}) {
    for (const Line& line : render_markdown(table, columns)) EXPECT_LE(columns_of(line), columns);
  }
  EXPECT_EQ(plain(table, 24),
            "first        second\n───────────  ───────────\na cell with  another one\nmany words   of these\n");
  EXPECT_EQ(plain("| a | b | c |\n|---|---|---|\n| 1234567 | 1234567 | 1234567 |", 18),
            "a: 1234567\nb: 1234567\nc: 1234567\n");
}

TEST(MarkdownTest, HtmlAndEntities) {
  EXPECT_EQ(plain("<b>x</b> &amp; &lt; &#65; &#x42; &unknown;", 80), "<b>x</b> & < A B &unknown;\n");
}

TEST(MarkdownTest, NothingSteersTheTerminal) {
  for (const char* text : {"a \033[2J b", "`\033]0;title\007`", "```\n\033[31m\n```", "&#27;[2J", "&#x9b;2J",
                           "[x](\033[2J)", "| \033[A |\n|---|\n| \033[B |", "# \033c"}) {
    for (const Line& line : render_markdown(text, 60)) {
      const std::string shown = plain_text(line);
      EXPECT_EQ(shown.find('\033'), std::string::npos) << text;
      EXPECT_EQ(shown.find('\007'), std::string::npos) << text;
      EXPECT_EQ(shown.find("\u009b"), std::string::npos) << text;
    }
  }
}

TEST(MarkdownTest, DeepNestingStaysWithinTheTerminal) {
  for (const Line& line : render_markdown(std::string(500, '>') + " deep", 40)) EXPECT_LE(columns_of(line), 40);
  std::string list;
  for (size_t depth = 0; depth < 40; ++depth) list += std::string(2 * depth, ' ') + "- item\n";
  for (const Line& line : render_markdown(list, 40)) EXPECT_LE(columns_of(line), 40);
}

}  // namespace
}  // namespace flashmoe
