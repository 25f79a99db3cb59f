// Whatever a grammar allows, drawn at random, is in the language: it parses and the schema validates it; and there is
// always something that is allowed.
#include "sampling/grammar.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "flashmoe/error.h"
#include "support/json_validator.h"
#include "support/random_schema.h"
#include "support/token_tables.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

// Tokens that end in the middle of things.
std::shared_ptr<const TokenTrie> awkward_tokens() {
  return byte_tokens({"{\"",      "\":",       "\": \"",     "\",\"",
                      "\"}",      "\"]}",      "}}",         "}]}",
                      "[[",       "[[[[[[[[",  "]]",         "],[",
                      "{\"a",     "a\":",      "1",          "12",
                      "123",      "1.",        ".5",         "0.25",
                      "-1",       "e+",        "9,",         "9}",
                      "\xF0\x9F", "\x98\x80",  "\xC3",       "\xC3\xBC\"",
                      "\\",       "\\u",       "\\ud83d\\u", "de00\"",
                      "tru",      "e,\"",      "null}",      "  ",
                      "\n  ",     ",\n    \"", "\n}",        "-02-2",
                      "9T1",      "\"\"",      "\"\\\"",     "\", \"ab\": [1, 2"});
}

// Some bytes only as parts of longer tokens.
std::shared_ptr<const TokenTrie> poor_tokens() {
  std::vector<std::string> texts;
  for (const char c : std::string("{}[]\",:.-+eE 0123456789abcdefghijklmnopqrstuvwxyzABCDEFTZ_/"))
    texts.emplace_back(1, c);
  for (const char* text : {"\\\"", "\\n", "\xC3\xBC", "\xC3", "\n}", "\": ", "\xF0\x9F\x98\x80", "<end>"})
    texts.emplace_back(text);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const std::vector<uint8_t> added(texts.size());
  const std::vector<int32_t> ends = {static_cast<int32_t>(texts.size()) - 1};
  return std::make_shared<const TokenTrie>(TokenTable{views, added, ends});
}

// Draws answers for random schemas until `n_schemas` of them could be enforced.
void draw_answers(const std::shared_ptr<const TokenTrie>& tokens, int n_schemas, uint64_t seed) {
  Random random(seed);
  int n_refused = 0;
  // FLASHMOE_GRAMMAR_LOG names a file for the pairs of schema and answer, to be checked by other validators.
  const char* const log_name = std::getenv("FLASHMOE_GRAMMAR_LOG");
  std::ofstream log;
  if (log_name != nullptr) log.open(log_name, std::ios::app);
  for (int n = 0; n < n_schemas;) {
    const Json schema = random_schema(random);
    std::shared_ptr<const Grammar> grammar;
    try {
      grammar = Grammar::json_schema(tokens, schema.dump());
    } catch (const Error& error) {
      ASSERT_LT(++n_refused, n_schemas) << error.what() << " " << schema.dump();
      continue;
    }
    ++n;
    for (int i = 0; i < 3; ++i) {
      const std::string text = random_answer(grammar, random, random.between(0, 80));
      const Json value = Json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << text.substr(0, 1000) << " " << schema.dump();
      std::string why;
      ASSERT_TRUE(validates(schema, value, schema, why)) << why << "\n"
                                                         << text.substr(0, 1000) << "\n"
                                                         << schema.dump();
      if (log_name != nullptr) log << Json{{"schema", schema}, {"text", text}}.dump() << "\n";
    }
  }
}

TEST(GrammarPropertyTest, AnswersInTheModelsTokensValidate) { draw_answers(tokens_of(*spark_tokenizer()), 600, 11); }

TEST(GrammarPropertyTest, AnswersInAwkwardTokensValidate) { draw_answers(awkward_tokens(), 600, 12); }

TEST(GrammarPropertyTest, AnswersInFewTokensValidate) { draw_answers(poor_tokens(), 300, 13); }

}  // namespace
}  // namespace flashmoe
