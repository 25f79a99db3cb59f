#include "sampling/grammar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/token_tables.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

std::shared_ptr<const Grammar> object_grammar() {
  static const auto grammar = Grammar::json_object(byte_tokens());
  return grammar;
}

bool only_the_end_is_allowed(GrammarState& state, const TokenTrie& tokens) {
  for (int32_t id = 0; id < tokens.size(); ++id) {
    if (state.allows(id) != tokens.is_end(id)) return false;
  }
  return true;
}

TEST(GrammarTest, JsonObjectsAreAccepted) {
  for (const char* text :
       {"{}", R"({"a": 1})", R"({"a":[1,-2.5e+10,true,false,null,{"b":{}}],"c":""})", "{\n  \"a\": [\n    1\n  ]\n}",
        R"({"q\"\\\/\b\f\n\r\tA\ud83d\ude00": "é€😀"})", R"({"": 0.0})"}) {
    EXPECT_TRUE(accepts(object_grammar(), text)) << text;
    EXPECT_TRUE(Json::parse(text).is_object()) << text;
  }
}

TEST(GrammarTest, WhatIsNoJsonObjectIsNot) {
  for (const char* text : {"",
                           "1",
                           "[]",
                           "{",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{\"a\":01}",
                           "{\"a\":1.}",
                           "{\"a\":.5}",
                           "{\"a\":+1}",
                           "{\"a\":tru}",
                           "{'a':1}",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"\\x\"}",
                           "{\"a\":\"\\ud83d\"}",
                           "{\"a\":\"\\ude00\"}",
                           "{\"a\":\"\xC0\x80\"}",
                           "{\"a\":\"\xED\xA0\x80\"}",
                           "{\"a\":\"\xF5\x80\x80\x80\"}",
                           "{\"a\":\"\xE2\x82\"}",
                           "{}}",
                           "{} ",
                           "{\"a\":[1}]",
                           "{   \"a\":1}",
                           "{\"a\":1e}",
                           "{\"a\": 1 2}"}) {
    EXPECT_FALSE(accepts(object_grammar(), text)) << text;
  }
}

TEST(GrammarTest, AfterTheObjectOnlyTheEndIsAllowed) {
  GrammarState state(object_grammar());
  const TokenTrie& tokens = object_grammar()->tokens();
  const int32_t end = tokens.ends()[0];
  EXPECT_FALSE(state.may_end());
  EXPECT_FALSE(state.allows(end));
  state.accept('{');
  EXPECT_FALSE(state.may_end());
  state.accept('}');
  EXPECT_TRUE(state.may_end());
  EXPECT_TRUE(only_the_end_is_allowed(state, tokens));
  std::vector<float> logits(static_cast<size_t>(tokens.size()) + 7, 1.0f);  // some models have more rows than tokens
  state.mask(logits);
  for (size_t id = 0; id < logits.size(); ++id) {
    EXPECT_EQ(logits[id], static_cast<int32_t>(id) == end ? 1.0f : -std::numeric_limits<float>::infinity()) << id;
  }
  EXPECT_FALSE(state.finished());
  state.accept(end);
  EXPECT_TRUE(state.finished());
  EXPECT_FALSE(state.allows(end));
}

TEST(GrammarTest, BracketsNestTo64AndThenClose) {
  const std::string open = "{\"a\":";
  std::string deep, close;
  for (int i = 0; i < 64; ++i) {
    deep += open;
    close += '}';
  }
  deep.resize(deep.size() - 4);  // the innermost object stays empty
  EXPECT_TRUE(accepts(object_grammar(), deep + close));
  EXPECT_FALSE(accepts(object_grammar(), deep + "\"a\":{}" + close));
  EXPECT_FALSE(accepts(object_grammar(), deep + "\"a\":[]" + close));
  EXPECT_TRUE(accepts(object_grammar(), deep + "\"a\":1" + close));
}

// A token's bytes may span any parts of the grammar; and one that begins well and ends badly is refused.
TEST(GrammarTest, TokensOfManyBytes) {
  const std::vector<std::string> texts = {"{\"",   "\":{\"",          "\":[[[",   "]]],\"",    "\"}}",
                                          "\"}}}", "ab\": \"c\", \"", "\xF0\x9F", "\x98\x80\""};
  const auto grammar = Grammar::json_object(byte_tokens(texts));
  const auto id = [&](std::string_view text) {
    for (int32_t token = 256; token < grammar->tokens().size(); ++token) {
      if (grammar->tokens().bytes(token) == text) return token;
    }
    return -1;
  };
  GrammarState state(grammar);
  EXPECT_FALSE(state.allows(id("\"}}")));
  for (const char* text : {"{\"", "\":{\"", "\":[[[", "]]],\"", "ab\": \"c\", \"", "\xF0\x9F", "\x98\x80\""}) {
    ASSERT_TRUE(state.allows(id(text))) << text;
    state.accept(id(text));
  }
  state.accept(':');
  state.accept('"');
  EXPECT_TRUE(state.allows(id("\"}}")));
  EXPECT_FALSE(state.allows(id("\"}}}")));
  state.accept(id("\"}}"));
  EXPECT_TRUE(only_the_end_is_allowed(state, grammar->tokens()));
}

TEST(GrammarTest, AddedTokensAreNotTheirText) {
  const auto tokens = byte_tokens();
  GrammarState state(Grammar::json_object(tokens));
  state.accept('{');
  state.accept('"');
  EXPECT_FALSE(state.allows(*tokens->added_token("<tool_call>")));
  EXPECT_FALSE(state.allows(*tokens->added_token("<|im_end|>")));
  EXPECT_TRUE(state.allows('<'));
}

// What cannot be written with the tokens at hand is as if the grammar did not have it.
TEST(GrammarTest, AVocabularyWithoutSomeBytes) {
  const auto grammar_of = [](std::vector<std::string> texts) {
    texts.emplace_back("<end>");
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    const std::vector<uint8_t> added(texts.size());
    const std::vector<int32_t> ends = {static_cast<int32_t>(texts.size()) - 1};
    return Grammar::json_object(std::make_shared<const TokenTrie>(TokenTable{views, added, ends}));
  };
  GrammarState state(grammar_of({"{", "}", "\"", "a", "\xC3", "{\"\xC3", "{\"a"}));
  EXPECT_TRUE(state.allows(0));
  EXPECT_FALSE(state.allows(5));  // the rest of the character has no token
  EXPECT_FALSE(state.allows(6));  // nor has the colon
  expect_error([&] { grammar_of({"{", "\"", "a"}); }, Fault::input, {"no answer can meet"});
}

TEST(GrammarTest, RandomAnswersParse) {
  Random random(1);
  const auto grammar = Grammar::json_object(tokens_of(*spark_tokenizer()));
  for (int i = 0; i < 100; ++i) {
    const std::string text = random_answer(grammar, random, random.between(0, 150));
    EXPECT_TRUE(Json::parse(text, nullptr, false).is_object()) << text;
  }
}

}  // namespace
}  // namespace flashmoe
