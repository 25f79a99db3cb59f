// Pieces as the reference tokenizer library splits them (tools/make_tokenizer_fixtures.py).
#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "fake_checkpoint.h"
#include "flashmoe/error.h"
#include "support/test_data.h"

namespace flashmoe {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces split(const PreTokenizer& pre_tokenizer, std::string_view text) {
  Pieces pieces;
  pre_tokenizer.split(text, pieces);
  return pieces;
}

TEST(PreTokenizerTest, SplitsAsTheReference) {
  const auto fixture = nlohmann::json::parse(read_test_data("text/pre_tokenizer_cases.json"));
  const auto texts = fixture["texts"].get<std::vector<std::string>>();
  ASSERT_GE(fixture["patterns"].size(), 10u);
  for (const auto& entry : fixture["patterns"]) {
    const auto pattern = entry["pattern"].get<std::string>();
    const PreTokenizer pre_tokenizer({{pattern}});
    const auto lengths = entry["lengths"].get<std::vector<std::vector<size_t>>>();
    for (size_t i = 0; i < lengths.size(); ++i) {
      std::vector<size_t> ours;
      for (const std::string_view piece : split(pre_tokenizer, texts[i])) ours.push_back(piece.size());
      EXPECT_EQ(ours, lengths[i]) << pattern << " on " << nlohmann::json(texts[i]).dump();
    }
  }
}

TEST(PreTokenizerTest, LiteralPatternsAreNotExpressions) {
  const PreTokenizer pre_tokenizer({{"a.", true}});
  EXPECT_EQ(split(pre_tokenizer, "xa.aba."), (Pieces{"x", "a.", "ab", "a."}));
}

TEST(PreTokenizerTest, SplitsInSequence) {
  const PreTokenizer pre_tokenizer({{" "}, {"[0-9]"}});
  EXPECT_EQ(split(pre_tokenizer, "ab1 2c"), (Pieces{"ab", "1", " ", "2", "c"}));
  EXPECT_EQ(split(pre_tokenizer, ""), Pieces{});
}

// A group under a repetition takes stack for every turn: more than machine code is granted here, not more than the
// interpreter is.
TEST(PreTokenizerTest, DeepBacktrackingIsNoFailure) {
  const PreTokenizer pre_tokenizer({{"(?:(a|b)(?=.))+"}});
  std::string text(200'000, 'a');
  EXPECT_EQ(split(pre_tokenizer, text).size(), 2u);
}

TEST(PreTokenizerTest, RunawayPatternsEnd) {
  const PreTokenizer pre_tokenizer({{"(?:a+)+$"}});
  EXPECT_THROW(split(pre_tokenizer, std::string(64, 'a') + "b"), Error);
}

}  // namespace
}  // namespace flashmoe
