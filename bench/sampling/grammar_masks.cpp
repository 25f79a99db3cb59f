// What a grammar costs beside a step of the model: making it, and the mask of one token in states that answers are in.
//
// usage: bench_sampling [TOKENS]      default: 248320 made-up ones, and those of models/spark
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sampling/grammar.h"
#include "support/token_tables.h"

namespace flashmoe {
namespace {

constexpr int kRepeats = 200;

double us(uint64_t start) { return static_cast<double>(now_ns() - start) * 1e-3; }

struct State {
  const char* name;
  const char* schema;  // empty: json_object; "tools": a call
  const char* prefix;
};

constexpr const char* kPerson =
    R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},)"
    R"("born":{"type":"string","format":"date"},"code":{"type":"string","pattern":"^[A-Z].*[0-9]$"},)"
    R"("short":{"type":"string","maxLength":40},"tags":{"type":"array","items":{"enum":["red","green","blue"]}}},)"
    R"("required":["name","age","born","code","short","tags"],"additionalProperties":false})";
constexpr const char* kTools =
    R"([{"name":"write_file","parameters":{"type":"object","properties":{"path":{"type":"string"},)"
    R"("text":{"type":"string"}},"required":["path","text"]}}])";

constexpr State kStates[] = {
    {"object: start", "", ""},
    {"object: key or end", "", "{"},
    {"object: inside a string", "", "{\"text\": \"It "},
    {"object: value", "", "{\"text\": "},
    {"schema: inside a string", kPerson, "{\"name\": \"An"},
    {"schema: string of at most 40", kPerson,
     "{\"name\": \"\", \"age\": 1, \"born\": \"2000-01-01\", \"code\": \"A1\", \"short\": \"abc"},
    {"schema: key", kPerson, "{\"name\": \"Ann\", "},
    {"schema: integer", kPerson, "{\"name\": \"Ann\", \"age\": 1"},
    {"schema: date", kPerson, "{\"name\": \"Ann\", \"age\": 1, \"born\": \"20"},
    {"schema: pattern A.*", kPerson, "{\"name\": \"Ann\", \"age\": 1, \"born\": \"2000-01-01\", \"code\": \"Ab"},
    {"tool call: free text", "tools", "<tool_call>\n<function=write_file>\n<parameter=path>\n/home/a"},
};

std::shared_ptr<const Grammar> make(const std::shared_ptr<const TokenTrie>& tokens, const std::string& schema) {
  if (schema.empty()) return Grammar::json_object(tokens);
  if (schema == "tools") return Grammar::tool_call(tokens, kTools, "", false);
  return Grammar::json_schema(tokens, schema);
}

void measure(const State& state, const std::shared_ptr<const TokenTrie>& tokens, std::vector<float>& logits) {
  uint64_t start = now_ns();
  const auto grammar = make(tokens, state.schema);
  const double made = us(start);
  GrammarState at(grammar);
  std::string_view prefix = state.prefix;
  if (const auto mark = tokens->added_token("<tool_call>"); mark && prefix.starts_with("<tool_call>")) {
    at.accept(*mark);
    prefix.remove_prefix(std::string_view("<tool_call>").size());
  }
  for (const char byte : prefix) {
    int32_t id = 0;
    while (tokens->bytes(id).size() != 1 || tokens->bytes(id)[0] != byte) ++id;
    at.accept(id);
  }
  std::vector<double> times;
  double first = 0;
  for (int i = 0; i < kRepeats; ++i) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    start = now_ns();
    at.mask(logits);
    (i == 0 ? first : times.emplace_back()) = us(start);
  }
  std::sort(times.begin(), times.end());
  const auto n_allowed = std::count(logits.begin(), logits.end(), 0.0f);
  fmt::print("{:<30} {:>9.0f} {:>11.0f} {:>11.0f} {:>9}\n", state.name, made, first, times[times.size() / 2],
             n_allowed);
}

void measure_all(const std::shared_ptr<const TokenTrie>& tokens, double built) {
  fmt::print("\n{} tokens; arranged in {:.0f} ms\n", tokens->size(), built * 1e-3);
  fmt::print("{:<30} {:>9} {:>11} {:>11} {:>9}\n", "", "made us", "first us", "again us", "allowed");
  std::vector<float> logits(static_cast<size_t>(tokens->size()));
  for (const State& state : kStates) measure(state, tokens, logits);
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  using namespace flashmoe;
  const int n_tokens = argc > 1 ? std::atoi(argv[1]) : 248320;
  if (n_tokens < 1000) {
    fmt::print(stderr, "usage: bench_sampling [TOKENS]      at least 1000\n");
    return 2;
  }
  const auto made_up = many_tokens(n_tokens);
  const auto again = [](const TokenTrie& tokens) {
    std::vector<std::string_view> texts;
    std::vector<uint8_t> added;
    for (int32_t id = 0; id < tokens.size(); ++id) {
      texts.push_back(tokens.bytes(id));
      added.push_back(tokens.is_added(id) ? 1 : 0);
    }
    const uint64_t start = now_ns();
    const TokenTrie copy({texts, added, tokens.ends()});
    return us(start);
  };
  measure_all(made_up, again(*made_up));
  const auto spark = tokens_of(*spark_tokenizer());
  measure_all(spark, again(*spark));
}
