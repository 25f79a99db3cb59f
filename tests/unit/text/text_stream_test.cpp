#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "fake_checkpoint.h"
#include "text/unicode.h"

namespace flashmoe {
namespace {

// Tokens 0 to 255 are the bytes, 256 is special, 257 is an ordinary added token.
std::unique_ptr<Tokenizer> make_bytes() {
  auto definition = byte_tokenizer();
  definition["added_tokens"].push_back({{"content", "<|end|>"}, {"id", 256}, {"special", true}});
  definition["added_tokens"].push_back({{"content", "<think>"}, {"id", 257}, {"special", false}});
  return Tokenizer::from_json(definition.dump());
}

std::vector<int32_t> byte_ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

bool is_valid(std::string_view text) {
  std::string storage;
  return valid_utf8(text, storage) == text;
}

// All that comes out; every piece is whole characters.
std::string stream(const Tokenizer& tokenizer, const std::vector<std::string>& stop, const std::vector<int32_t>& ids) {
  TextStream stream(tokenizer, stop);
  std::string text;
  for (const int32_t id : ids) {
    const auto piece = stream.push(id);
    EXPECT_TRUE(is_valid(piece));
    text += piece;
    if (stream.stopped()) {
      EXPECT_EQ(stream.push(0), "");
    }
  }
  const auto rest = stream.finish();
  EXPECT_TRUE(is_valid(rest));
  return text.append(rest);
}

class TextStreamTest : public testing::Test {
 protected:
  std::string bytes(const std::string& text, const std::vector<std::string>& stop = {}) {
    return stream(*tokenizer_, stop, byte_ids(text));
  }
  const std::unique_ptr<Tokenizer> tokenizer_ = make_bytes();
};

TEST_F(TextStreamTest, HoldsBackHalfCharacters) {
  TextStream stream(*tokenizer_, {});
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.push(0x80), "\U0001f600");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push('a'), "\uFFFDa");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push(0x82), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST_F(TextStreamTest, DropsSpecialTokensOnly) {
  EXPECT_EQ(stream(*tokenizer_, {}, {'a', 256, 'b', 257, 'c'}), "ab<think>c");
}

TEST_F(TextStreamTest, StopsAcrossTokens) {
  EXPECT_EQ(bytes("one END two", {"END"}), "one ");
  EXPECT_EQ(bytes("one EN", {"END"}), "one EN");
  EXPECT_EQ(bytes("END", {"END"}), "");
  EXPECT_EQ(bytes("aaab", {"aab"}), "a");
  EXPECT_EQ(bytes("ababac", {"abac"}), "ab");
  EXPECT_EQ(bytes("x\u4e2dy", {"\u4e2d"}), "x");
  EXPECT_EQ(bytes("x<think>y", {"k>y"}), "x<thin");
  EXPECT_EQ(stream(*tokenizer_, {"k>y"}, {'x', 257, 'y', 'z'}), "x<thin");
  EXPECT_EQ(bytes("abc", {"", "c"}), "ab");
  EXPECT_EQ(bytes("a\xFFz", {"\uFFFD"}), "a");
}

TEST_F(TextStreamTest, HoldsOnlyWhatCouldStop) {
  TextStream stream(*tokenizer_, {"\n\nUser:", "\nQ"});
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push('\n'), "");
  EXPECT_EQ(stream.push('\n'), "");
  EXPECT_EQ(stream.push('U'), "");
  EXPECT_EQ(stream.push('x'), "\n\nUx");
  EXPECT_EQ(stream.push('\n'), "");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.push('Q'), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.finish(), "");
}

// The stop string that is complete first wins, however the text is cut into tokens.
TEST_F(TextStreamTest, OverlappingStops) {
  EXPECT_EQ(bytes("abcd", {"abcd", "bc"}), "a");
  EXPECT_EQ(bytes("abcx", {"abcd", "bc"}), "a");
  EXPECT_EQ(bytes("abc", {"bc", "abc"}), "");
  EXPECT_EQ(bytes("abab", {"abab", "ab"}), "");
}

std::string random_bytes(std::mt19937& random) {
  static const std::vector<std::string> kParts = {
      "a",          "b",    "ab",   "\n",       " stop",    "st",   "op",   "\u00e9", "\u4e2d", "\u0301",
      "\U0001f600", "\xE2", "\x82", "\xF0\x9F", "\xED\xA0", "\xFF", "\x80", "\xC0",   "\uFFFD", "aab"};
  std::string text;
  for (size_t n = random() % 24; n > 0; --n) text += kParts[random() % kParts.size()];
  return text;
}

// A tokenizer in which every byte string met in a cut is one token is not needed: the ids of a cut are made here.
class CutTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view, Marks) const override { return {}; }
  std::string_view bytes(int32_t id) const override { return pieces[static_cast<size_t>(id)]; }
  bool is_special(int32_t) const override { return false; }
  bool ends_turn(int32_t) const override { return false; }
  std::optional<int32_t> id_of(std::string_view) const override { return std::nullopt; }
  int32_t size() const override { return static_cast<int32_t>(pieces.size()); }
  const std::vector<std::string>& added_tokens() const override { return pieces; }
  std::vector<std::string> pieces;
};

TEST_F(TextStreamTest, AnyCutGivesTheSameText) {
  std::mt19937 random(7);
  const std::vector<std::vector<std::string>> stops = {
      {}, {"stop"}, {"aab", "ab\u00e9"}, {"\u4e2da", "b\n", "\n stop"}};
  for (int round = 0; round < 4000; ++round) {
    const std::string text = random_bytes(random);
    const auto& stop = stops[random() % stops.size()];
    std::string storage;
    const std::string whole(valid_utf8(text, storage));
    CutTokenizer cut;
    std::vector<int32_t> ids;
    for (size_t at = 0; at < text.size();) {
      const size_t n = std::min<size_t>(text.size() - at, random() % 5);
      ids.push_back(cut.size());
      cut.pieces.push_back(text.substr(at, n));
      at += n;
    }
    const std::string ours = stream(cut, stop, ids);
    EXPECT_EQ(ours, bytes(text, stop));
    EXPECT_TRUE(!stop.empty() || ours == whole);
    EXPECT_TRUE(whole.starts_with(ours));
    for (const std::string& s : stop) EXPECT_EQ(ours.find(s), std::string::npos);
  }
}

}  // namespace
}  // namespace flashmoe
