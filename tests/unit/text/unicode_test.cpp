#include "text/unicode.h"

#include <gtest/gtest.h>

#include <set>

namespace flashmoe {
namespace {

std::string valid(std::string_view text) {
  std::string storage;
  return std::string(valid_utf8(text, storage));
}

std::string composed(std::string_view text) {
  std::string storage;
  return std::string(nfc(text, storage));
}

TEST(UnicodeTest, ReplacesIllFormedPartsAsPythonDoes) {
  EXPECT_EQ(valid("\xFF"), "\uFFFD");
  EXPECT_EQ(valid("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(valid("\xC0\xAF"), "\uFFFD\uFFFD");
  EXPECT_EQ(valid("\xE2\x82"), "\uFFFD");
  EXPECT_EQ(valid("\xE2\x82z"), "\uFFFDz");
  EXPECT_EQ(valid("\xE2\x82\xE2\x82\xAC"), "\uFFFD\u20AC");
  EXPECT_EQ(valid("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(valid("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(valid("\xF0\x80\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(valid("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(valid("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");
  EXPECT_EQ(valid("12345678\xC3"), "12345678\uFFFD");
}

TEST(UnicodeTest, ValidTextIsNotCopied) {
  const std::string text = "plain, \u00e9t\u00e9, \u4e2d\u6587, \U0001f600";
  std::string storage;
  EXPECT_EQ(valid_utf8(text, storage).data(), text.data());
  EXPECT_EQ(nfc("plain \u4e2d\u6587", storage), "plain \u4e2d\u6587");
  EXPECT_TRUE(storage.empty());
}

TEST(UnicodeTest, EveryCharacterSurvivesEncodingAndDecoding) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Part part = next_utf8(text);
    ASSERT_EQ(part.kind, Utf8Kind::character);
    ASSERT_EQ(part.code_point, c);
    ASSERT_EQ(part.n_bytes, text.size());
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(next_utf8(std::string_view(text).substr(0, n)).kind, Utf8Kind::incomplete);
    }
  }
}

TEST(UnicodeTest, IncompleteEndWaits) {
  std::string out;
  EXPECT_EQ(append_valid_utf8("ab\xF0\x9F", false, out), 2u);
  EXPECT_EQ(out, "ab");
  EXPECT_EQ(append_valid_utf8("\xF0\x9F", true, out), 2u);
  EXPECT_EQ(out, "ab\uFFFD");
}

TEST(UnicodeTest, Composes) {
  EXPECT_EQ(composed("cafe\u0301"), "caf\u00e9");
  EXPECT_EQ(composed("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(composed("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(composed("\u212b\u2126\u0958"), "\u00c5\u03a9\u0915\u093c");
  EXPECT_EQ(composed(std::string_view("e\0\u0301", 4)), std::string("e\0\u0301", 4));
  EXPECT_EQ(composed("\uac1c\u11a7\u11a8"), "\uac1c\u11a7\u11a8");
  // Later than the reference's tables: left as they are.
  EXPECT_EQ(composed("\U00011935\U00011930"), "\U00011935\U00011930");
  EXPECT_EQ(composed("a\u0898\u0327"), "a\u0898\u0327");
}

TEST(UnicodeTest, ByteAlphabetIsOneToOne) {
  std::set<char16_t> seen(kByteCharacters.begin(), kByteCharacters.end());
  EXPECT_EQ(seen.size(), 256u);
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string token;
    append_utf8(token, kByteCharacters[byte]);
    EXPECT_EQ(bytes_of_token(token), std::string(1, static_cast<char>(static_cast<unsigned char>(byte))));
  }
  EXPECT_EQ(bytes_of_token("\u0120the"), " the");
  EXPECT_EQ(bytes_of_token("\u4e2d"), "\u4e2d");
  EXPECT_FALSE(is_byte_level("a b"));
}

}  // namespace
}  // namespace flashmoe
