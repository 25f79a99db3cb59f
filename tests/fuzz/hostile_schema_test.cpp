// Schemas made to hang, to fill memory or to overflow the stack are refused or enforced, within bounds; damaged ones
// likewise.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "flashmoe/error.h"
#include "sampling/grammar.h"
#include "support/random_schema.h"
#include "support/token_tables.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

// Refusals come within this many seconds, and answers too, on busy machines. Unoptimised and with a sanitizer the same
// work takes some 20 times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kPatience = 300;
#else
constexpr double kPatience = 20;
#endif

std::string repeated(int n, const std::function<std::string(int)>& part, const char* separator = ",") {
  std::string text;
  for (int i = 0; i < n; ++i) text += (i > 0 ? separator : "") + part(i);
  return text;
}

std::string nested(int n, const std::string& open, const std::string& close) {
  return repeated(
             n, [&](int) { return open; }, "") +
         "true" +
         repeated(
             n, [&](int) { return close; }, "");
}

struct Outcome {
  std::string refusal;
  double seconds;
};

// Makes the grammar and draws two answers from it.
Outcome attempt(const std::shared_ptr<const TokenTrie>& tokens, const std::string& schema) {
  const uint64_t start = now_ns();
  Outcome outcome;
  try {
    const auto grammar = Grammar::json_schema(tokens, schema);
    Random random(3);
    for (const int patience : {0, 20}) {
      const std::string text = random_answer(grammar, random, patience);
      EXPECT_FALSE(Json::parse(text, nullptr, false).is_discarded()) << text.substr(0, 300);
    }
  } catch (const Error& error) {
    outcome.refusal = error.what();
    EXPECT_LT(outcome.refusal.size(), 600u) << outcome.refusal;
  }
  outcome.seconds = static_cast<double>(now_ns() - start) * 1e-9;
  EXPECT_LT(outcome.seconds, kPatience) << schema.substr(0, 300);
  return outcome;
}

void refused(const std::string& schema, std::string_view reason) {
  static const auto tokens = byte_tokens();
  const Outcome outcome = attempt(tokens, schema);
  EXPECT_NE(outcome.refusal.find(reason), std::string::npos) << outcome.refusal << " " << schema.substr(0, 300);
}

void enforced(const std::string& schema) {
  static const auto tokens = tokens_of(*spark_tokenizer());
  const Outcome outcome = attempt(tokens, schema);
  EXPECT_EQ(outcome.refusal, "") << schema.substr(0, 300);
}

std::string pattern(const std::string& text) { return Json{{"type", "string"}, {"pattern", text}}.dump(); }

TEST(HostileSchemaTest, DeepNesting) {
  refused(nested(100000, "[", "]"), "nested more than 128 deep");
  refused(nested(100000, R"({"items":)", "}"), "nested more than 128 deep");
  refused(std::string(100000, '['), "nested more than 128 deep");
  enforced(nested(63, R"({"type":"array","minItems":1,"items":)", "}"));
  refused(nested(66, R"({"type":"array","minItems":1,"items":)", "}"), "no answer can meet");
  enforced(nested(60, R"({"allOf":[)", "]}"));
  refused(std::string(2'000'000, ' '), "longer than");
}

TEST(HostileSchemaTest, Combinations) {
  const std::string two = R"({"anyOf":[{"minimum":1},{"maximum":5}]})";
  refused(R"({"allOf":[)" + repeated(30, [&](int) { return two; }) + "]}", "alternatives");
  const auto doubling = [](const std::string& keyword) {
    return R"({"$defs":{)" +
           repeated(60,
                    [&](int i) {
                      return fmt::format(R"("d{}":{{"{}":[{{"$ref":"#/$defs/d{}"}},{{"$ref":"#/$defs/d{}"}}]}})", i,
                                         keyword, i + 1, i + 1);
                    }) +
           R"(,"d60":{"type":"integer"}},"$ref":"#/$defs/d0"})";
  };
  refused(doubling("anyOf"), "alternatives");
  refused(doubling("allOf"), "too many combinations");
  refused(doubling("oneOf"), "oneOf");
  const std::string chain =
      R"({"$defs":{)" +
      repeated(5000, [](int i) { return fmt::format(R"("d{}":{{"$ref":"#/$defs/d{}"}})", i, i + 1); }) +
      R"(,"d5000":true},"$ref":"#/$defs/d0"})";
  refused(chain, "references");
  // Members that ask for ever larger sets of schemas at once.
  const std::string growing =
      R"({"$defs":{)" +
      repeated(20,
               [](int i) {
                 return fmt::format(R"("d{}":{{"type":"object","properties":{{"a":{{"allOf":[{{"$ref":"#/$defs/d{}"}},)"
                                    R"({{"$ref":"#/$defs/d{}"}}]}},"b":{{"$ref":"#/$defs/d{}"}}}}}})",
                                    i, (i * 7 + 1) % 20, (i * 3 + 2) % 20, (i + 1) % 20);
               }) +
      R"(},"$ref":"#/$defs/d0"})";
  refused(growing, "more than 400000 states");
}

TEST(HostileSchemaTest, ManyOfSomething) {
  enforced(R"({"enum":[)" + repeated(60000, [](int i) { return fmt::format("\"{:x}\"", i * 7919); }) + "]}");
  enforced(R"({"type":"object","properties":{)" +
           repeated(4000, [](int i) { return fmt::format(R"("p{}":{{"type":"null"}})", i); }) + "}}");
  refused(R"({"type":"object","properties":{)" +
              repeated(4001, [](int i) { return fmt::format(R"("p{}":{{"type":"null"}})", i); }) + "}}",
          "at most 4000");
  refused(R"({"required":[)" + repeated(50000, [](int i) { return fmt::format("\"p{}\"", i); }) + "]}", "at most 4000");
  refused(R"({"anyOf":[)" + repeated(5000, [](int) { return "{}"; }) + "]}", "alternatives");
  refused(R"({"oneOf":[)" +
              repeated(40,
                       [](int i) {
                         return R"({"enum":[)" +
                                repeated(1500, [&](int j) { return fmt::format("{}", i * 1500 + j); }) + "]}";
                       }) +
              "]}",
          "too many combinations");
  refused(R"({"type":"array","maxItems":1000000000})", "states");
  refused(R"({"type":"array","minItems":1000000000,"items":{"type":"null"}})", "states");
  refused(R"({"type":"string","maxLength":1000000000})", "10000");
  refused(R"({"type":"string","minLength":1e18})", "10000");
  enforced(R"({"type":"string","maxLength":10000})");
  enforced(
      R"({"type":"array","maxItems":500,"items":{"type":"array","maxItems":500,"items":{"type":"array","maxItems":500}}})");
  enforced(R"({"type":"number","minimum":-1e308,"maximum":1e-308})");
  refused(R"({"type":"integer","minimum":1e308})", "only integers of more than 18 digits");
}

TEST(HostileSchemaTest, Patterns) {
  refused(pattern("((((a{1000}){1000}){1000}){1000})"), "cannot be enforced");
  refused(pattern(".*a.{500}"), "cannot be enforced");
  refused(pattern("(a|b)*a(a|b){20}$"), "cannot be enforced");
  enforced(pattern("^(a+a+)+b$"));
  enforced(pattern("^(a|a|a|a)*$"));
  refused(pattern(std::string(3000, '(')), "cannot be enforced");
  refused(pattern(std::string(5000, 'a')), "longer than 4096");
  refused(pattern("[" +
                  repeated(
                      900, [](int i) { return fmt::format("\\u{:04x}", 0x100 + 2 * i); }, "")
                      .substr(0, 4000) +
                  "]{2000}"),
          "cannot be enforced");
  refused(R"({"anyOf":[)" +
              repeated(1000, [](int i) { return pattern(fmt::format("^(x|y)*x(x|y){{10}}z{{{}}}$", i)); }) + "]}",
          "cannot be enforced");
  refused(R"({"allOf":[)" + repeated(20, [](int i) { return pattern(fmt::format("[a-z]{{{}}}x", 7 * i + 30)); }) + "]}",
          "cannot be enforced");
}

// Alternatives that only differ deep inside or late.
TEST(HostileSchemaTest, Ambiguity) {
  enforced(
      R"({"anyOf":[)" +
      repeated(100,
               [](int i) { return fmt::format(R"({{"type":"array","items":{{"$ref":"#"}},"maxItems":{}}})", i + 3); }) +
      R"(,{"type":"null"}]})");
  enforced(
      R"({"anyOf":[)" +
      repeated(
          50,
          [](int i) {
            return fmt::format(
                R"({{"type":"object","properties":{{"a":{{"type":"string","pattern":"x.{{{}}}y"}}}},"required":["a"]}})",
                i % 7);
          }) +
      "]}");
}

std::string damaged(std::string text, Random& random) {
  static const std::string kPieces[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"",
                                        "null",
                                        "true",
                                        "-1",
                                        "1e99",
                                        "0.5",
                                        "\"type\":",
                                        "\"$ref\":\"#\"",
                                        "\"items\":",
                                        "\"required\":[\"a\"]",
                                        "\"anyOf\":[",
                                        "\\u0000",
                                        "\xFF",
                                        "{}",
                                        "\"pattern\":\"(a*)*\""};
  for (uint64_t n = 1 + random.below(4); n > 0 && !text.empty(); --n) {
    const size_t at = random.below(text.size()), length = std::min<size_t>(text.size() - at, 1 + random.below(12));
    if (random.below(3) == 0) text.erase(at, length);
    if (random.below(3) == 0) text.insert(at, kPieces[random.below(std::size(kPieces))]);
    if (random.below(3) == 0)
      text.insert(random.below(text.size() + 1), text.substr(at < text.size() ? at : 0, length));
  }
  return text;
}

TEST(HostileSchemaTest, DamagedSchemas) {
  Random random(7);
  const auto tokens = byte_tokens();
  int n_enforced = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string schema = damaged(random_schema(random).dump(), random);
    try {
      const auto grammar = Grammar::json_schema(tokens, schema);
      GrammarState state(grammar);
      std::vector<float> logits(static_cast<size_t>(tokens->size()), 0.0f);
      state.mask(logits);
      EXPECT_TRUE(std::any_of(logits.begin(), logits.end(), [](float x) { return x == 0; })) << schema;
      ++n_enforced;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(n_enforced, 50);
}

}  // namespace
}  // namespace flashmoe
