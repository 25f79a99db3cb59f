// What a malformed or foreign tokenizer is answered with.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "fake_checkpoint.h"
#include "flashmoe/error.h"
#include "text/tokenizer.h"

namespace flashmoe {
namespace {

using nlohmann::json;

// The fault and its message, which must hold `part`.
void expect_error(Fault fault, const std::string& part, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.fault()), static_cast<int>(fault)) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
  }
}

void expect_json_error(Fault fault, const std::string& part, const std::function<void(json&)>& change) {
  json tokenizer = byte_tokenizer();
  change(tokenizer);
  expect_error(fault, part, [&] { Tokenizer::from_json(tokenizer.dump()); });
}

TEST(TokenizerErrorsTest, MalformedJson) {
  for (const char* text : {"", "{", "{}}", "{\"model\": {\"vocab\": {\"a\": {}}}}", "{\"model\": {\"merges\": [[[]]]}}",
                           "[1, 2]", "42", "null", "{}", "{\"model\": 3}", "\xFF\xFE"}) {
    EXPECT_THROW(Tokenizer::from_json(text), Error) << text;
  }
  expect_json_error(Fault::input, "no \"vocab\"", [](json& t) { t["model"].erase("vocab"); });
  expect_json_error(Fault::input, "no \"vocab\"", [](json& t) { t["model"]["vocab"] = 7; });
  expect_json_error(Fault::input, "no \"merges\"", [](json& t) { t["model"].erase("merges"); });
  expect_json_error(Fault::input, "byte 0x61", [](json& t) { t["model"]["vocab"].erase("a"); });
  expect_json_error(Fault::input, "not a whole number", [](json& t) { t["model"]["vocab"]["zz"] = 1.5; });
  expect_json_error(Fault::input, "the id -1", [](json& t) { t["model"]["vocab"]["zz"] = -1; });
  expect_json_error(Fault::input, "the id 4000000000", [](json& t) { t["model"]["vocab"]["zz"] = 4000000000u; });
  expect_json_error(Fault::input, "the id 9223372036854775807",
                    [](json& t) { t["model"]["vocab"]["zz"] = ~uint64_t{0}; });
  expect_json_error(Fault::input, "the id 97", [](json& t) { t["model"]["vocab"]["zz"] = 97; });
  expect_json_error(Fault::input, "merge 0", [](json& t) { t["model"]["merges"] = json::array({"a b c"}); });
  expect_json_error(Fault::input, "merge 0", [](json& t) { t["model"]["merges"] = json::array({"ab"}); });
  expect_json_error(Fault::input, "not in the vocabulary", [](json& t) { t["model"]["merges"] = {"a b"}; });
  expect_json_error(Fault::input, "not in the vocabulary",
                    [](json& t) { t["model"]["merges"] = json::parse(R"([["zz", "b"]])"); });
  expect_json_error(Fault::input, "merge 0", [](json& t) { t["model"]["merges"] = json::array({json::array({"a"})}); });
  expect_json_error(Fault::input, "merge 0", [](json& t) { t["model"]["merges"] = {1}; });
  expect_json_error(Fault::input, "not true or false", [](json& t) { t["model"]["ignore_merges"] = "yes"; });
  expect_json_error(Fault::input, "without a type", [](json& t) { t["normalizer"] = json::object(); });
}

TEST(TokenizerErrorsTest, HostileJson) {
  std::string twice = byte_tokenizer().dump();
  twice.insert(twice.find("\"vocab\":{") + 9, "\"a\":97,");
  expect_error(Fault::input, "the token \"a\" twice", [&] { Tokenizer::from_json(twice); });
  for (const char* nested : {R"({"vocab": {}})", R"({"merges": []})"}) {
    expect_error(Fault::input, "not a whole number",
                 [&] { Tokenizer::from_json(fmt::format(R"({{"model": {{"vocab": {}, "merges": []}}}})", nested)); });
  }
  const std::string deep(100'000, '[');
  expect_error(Fault::input, "nested", [&] { Tokenizer::from_json(deep); });
  expect_error(Fault::input, "nested", [&] { Tokenizer::from_json("{\"normalizer\": " + deep); });
  expect_error(Fault::input, "merge 0", [&] { Tokenizer::from_json("{\"model\": {\"merges\": " + deep); });
}

TEST(TokenizerErrorsTest, MalformedAddedTokens) {
  const auto add = [](json& t, const char* entry) { t["added_tokens"].push_back(json::parse(entry)); };
  expect_json_error(Fault::input, "not a list", [](json& t) { t["added_tokens"] = 5; });
  expect_json_error(Fault::input, "without \"content\"", [&](json& t) { add(t, R"({"id": 300})"); });
  expect_json_error(Fault::input, "not a whole number", [&](json& t) { add(t, R"({"content": "<x>"})"); });
  expect_json_error(Fault::input, "the id 99999999", [&](json& t) { add(t, R"({"content": "<x>", "id": 99999999})"); });
  expect_json_error(Fault::input, "the id 97", [&](json& t) { add(t, R"({"content": "<x>", "id": 97})"); });
  expect_json_error(Fault::input, "the ids 97 and 300", [&](json& t) { add(t, R"({"content": "a", "id": 300})"); });
  expect_json_error(Fault::input, "have the id 300", [&](json& t) {
    add(t, R"({"content": "<x>", "id": 300})");
    add(t, R"({"content": "<y>", "id": 300})");
  });
  expect_json_error(Fault::input, "twice", [&](json& t) {
    add(t, R"({"content": "<x>", "id": 300})");
    add(t, R"({"content": "<x>", "id": 301})");
  });
}

TEST(TokenizerErrorsTest, OtherKindsAreNamed) {
  const auto unsupported = [](const std::string& part, const std::function<void(json&)>& change) {
    expect_json_error(Fault::unsupported, part, change);
  };
  unsupported("WordPiece", [](json& t) { t["model"]["type"] = "WordPiece"; });
  unsupported("byte_fallback", [](json& t) { t["model"]["byte_fallback"] = true; });
  unsupported("dropout", [](json& t) { t["model"]["dropout"] = 0.1; });
  unsupported("end_of_word_suffix", [](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; });
  unsupported("Lowercase", [](json& t) { t["normalizer"] = {{"type", "Lowercase"}}; });
  unsupported("Whitespace", [](json& t) { t["pre_tokenizer"] = {{"type", "Whitespace"}}; });
  unsupported("without ByteLevel", [](json& t) { t["pre_tokenizer"] = nullptr; });
  unsupported("add_prefix_space", [](json& t) { t["pre_tokenizer"]["add_prefix_space"] = true; });
  const auto split = [](json& t, const char* pattern, const char* behavior) {
    const json first = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}};
    t["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array({first, t["pre_tokenizer"]})}};
  };
  unsupported("Removed", [&](json& t) { split(t, "a", "Removed"); });
  unsupported("missing closing parenthesis", [&](json& t) { split(t, "(a", "Isolated"); });
  unsupported("&& in a class", [&](json& t) { split(t, "[a-z&&[^b]]", "Isolated"); });
  unsupported("a class in a class", [&](json& t) { split(t, "[a[bc]]", "Isolated"); });
  unsupported("a class in a class", [&](json& t) { split(t, "[[:alpha:]]", "Isolated"); });
  unsupported("backslash at the end", [&](json& t) { split(t, "a\\", "Isolated"); });
}

FakeCheckpoint small_gguf() {
  FakeCheckpoint checkpoint(Dialect::gguf);
  const json tokenizer = byte_tokenizer();
  std::vector<std::string> tokens(256);
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) tokens[id.get<size_t>()] = token;
  tokens.push_back("ab");
  checkpoint.meta["tokenizer.ggml.model"] = std::string("gpt2");
  checkpoint.meta["tokenizer.ggml.pre"] = std::string("qwen35");
  checkpoint.meta["tokenizer.ggml.tokens"] = tokens;
  checkpoint.meta["tokenizer.ggml.merges"] = std::vector<std::string>{"a b"};
  return checkpoint;
}

void expect_gguf_error(Fault fault, const std::string& part, const std::string& key, std::optional<MetaValue> value) {
  FakeCheckpoint checkpoint = small_gguf();
  if (value) {
    checkpoint.meta[key] = *value;
  } else {
    checkpoint.meta.erase(key);
  }
  expect_error(fault, part, [&] { Tokenizer::load(checkpoint); });
}

TEST(TokenizerErrorsTest, Gguf) {
  EXPECT_EQ(Tokenizer::load(small_gguf())->encode("abc", Marks::parse), (std::vector<int32_t>{256, 'c'}));
  using Strings = std::vector<std::string>;
  expect_gguf_error(Fault::unsupported, "\"llama\"", "tokenizer.ggml.model", std::string("llama"));
  expect_gguf_error(Fault::input, "another type", "tokenizer.ggml.model", uint64_t{1});
  expect_gguf_error(Fault::unsupported, "\"deepseek-v3\"", "tokenizer.ggml.pre", std::string("deepseek-v3"));
  expect_gguf_error(Fault::input, "tokenizer.ggml.pre is missing", "tokenizer.ggml.pre", std::nullopt);
  expect_gguf_error(Fault::input, "tokenizer.ggml.tokens is missing", "tokenizer.ggml.tokens", std::nullopt);
  expect_gguf_error(Fault::input, "another type", "tokenizer.ggml.tokens", std::vector<int64_t>{1});
  expect_gguf_error(Fault::input, "both \"a\"", "tokenizer.ggml.tokens", Strings{"a", "a"});
  expect_gguf_error(Fault::input, "tokenizer.ggml.merges is missing", "tokenizer.ggml.merges", std::nullopt);
  expect_gguf_error(Fault::input, "merge 0", "tokenizer.ggml.merges", Strings{"a"});
  expect_gguf_error(Fault::input, "has 1 entries", "tokenizer.ggml.token_type", std::vector<int64_t>{1});
}

TEST(TokenizerErrorsTest, GgufMergesThatCannotApplyAreSkipped) {
  FakeCheckpoint checkpoint = small_gguf();
  checkpoint.meta["tokenizer.ggml.merges"] = std::vector<std::string>{"b c", "x y", "a b"};
  EXPECT_EQ(Tokenizer::load(checkpoint)->encode("abc", Marks::parse), (std::vector<int32_t>{256, 'c'}));
}

TEST(TokenizerErrorsTest, GenerationConfigMustBeJson) {
  FakeCheckpoint folder(Dialect::hugging_face);
  folder.side_files["tokenizer.json"] = byte_tokenizer().dump();
  folder.side_files["generation_config.json"] = "{";
  expect_error(Fault::input, "generation_config.json", [&] { Tokenizer::load(folder); });
}

TEST(TokenizerErrorsTest, GapsInTheIdsAreEmptyTokens) {
  json definition = byte_tokenizer();
  definition["model"]["vocab"]["ab"] = 300;
  definition["model"]["merges"] = {"a b"};
  const auto tokenizer = Tokenizer::from_json(definition.dump());
  EXPECT_EQ(tokenizer->size(), 301);
  EXPECT_EQ(tokenizer->bytes(299), "");
  EXPECT_EQ(tokenizer->encode("ab", Marks::parse), std::vector<int32_t>{300});
}

// A vocabulary whose merges spell a control token must not let user text become it.
TEST(TokenizerErrorsTest, TextNeverMergesIntoAControlToken) {
  json definition = byte_tokenizer();
  definition["model"]["vocab"]["ab"] = 256;
  definition["model"]["merges"] = {"a b"};
  definition["added_tokens"].push_back({{"content", "ab"}, {"id", 256}, {"special", true}});
  const auto tokenizer = Tokenizer::from_json(definition.dump());
  EXPECT_EQ(tokenizer->encode("ab", Marks::parse), std::vector<int32_t>{256});
  EXPECT_EQ(tokenizer->encode("ab", Marks::as_text), (std::vector<int32_t>{'a', 'b'}));
}

}  // namespace
}  // namespace flashmoe
