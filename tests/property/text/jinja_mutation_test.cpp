// Damaged templates render or are refused with an Error; they never crash, hang or corrupt memory.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "flashmoe/error.h"
#include "support/test_data.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/parser.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  size_t below(size_t n) { return static_cast<size_t>(random_()) % n; }

  std::string mutate(std::string text) {
    static const std::string kPieces[] = {
        "{%",   "%}",          "{{",     "}}",    "{#",   "-%}", "{%-", "(",
        ")",    "[",           "]",      "'",     "|",    ".",   "-1",  "9223372036854775807",
        "loop", "namespace()", "endfor", " not ", "\xFF", "\\",  "**",  "99999"};
    for (size_t n = 1 + below(4); n > 0 && !text.empty(); --n) {
      const size_t at = below(text.size()), length = std::min(text.size() - at, 1 + below(12));
      switch (below(4)) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        case 2:
          text.insert(below(text.size()), text.substr(at, length));
          break;
        default:
          text[at] = static_cast<char>(below(256));
          break;
      }
    }
    return text;
  }

 private:
  std::mt19937 random_;
};

TEST(JinjaMutation, DamagedTemplatesAreRefusedOrRendered) {
  const Json contexts = Json::parse(read_test_data("jinja/contexts.json"));
  std::vector<std::pair<std::string, std::string>> sources;
  std::istringstream lines(read_test_data("jinja/cases.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json entry = Json::parse(line);
    sources.emplace_back(entry["t"], entry["c"]);
  }
  for (const char* name : {"spark.jinja", "think_tools.jinja", "alternating.jinja", "header_blocks.jinja"}) {
    for (int i = 0; i < 40; ++i) sources.emplace_back(read_test_data("jinja/" + std::string(name)), "chat");
  }
  ASSERT_GT(sources.size(), 400U);
  Mutator mutator(17);
  size_t rendered = 0, refused = 0;
  for (int i = 0; i < 8000; ++i) {
    const auto& [source, context] = sources[mutator.below(sources.size())];
    const std::string damaged = mutator.mutate(source);
    try {
      jinja::render(jinja::parse(damaged), jinja::from_json(contexts[context]), {200'000, uint64_t{4} << 20});
      ++rendered;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << damaged;
      ++refused;
    }
  }
  EXPECT_GT(rendered, 500U);
  EXPECT_GT(refused, 500U);
}

}  // namespace
}  // namespace flashmoe
