// The built-in model calls tools as it was trained to: 256 held-out requests, greedy.
#include "text/tool_calls.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "flashmoe/engine.h"
#include "flashmoe/session.h"

namespace flashmoe {
namespace {

using nlohmann::ordered_json;

constexpr int kLeastExact = 228;
constexpr int kLeastWellFormed = 250;

bool equal_calls(const ToolCalls& answer, const ordered_json& wanted) {
  if (!answer.valid() || answer.calls.size() != wanted.size()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    // As values: the order of arguments does not matter.
    const auto arguments = nlohmann::json::parse(answer.calls[i].arguments);
    if (answer.calls[i].name != wanted[i]["name"].get<std::string>() ||
        arguments != nlohmann::json(wanted[i]["arguments"]))
      return false;
  }
  return true;
}

TEST(ToolCallsTest, TheBuiltInModelCallsToolsExactly) {
  EngineOptions options;
  options.model_path = FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf";
  const auto engine = Engine::open(options);
  std::ifstream cases(FLASHMOE_TEST_DATA "/spark/tool_cases.jsonl");
  int n = 0, n_exact = 0, n_well_formed = 0;
  for (std::string line; std::getline(cases, line); ++n) {
    auto request = ordered_json::parse(line);
    const ordered_json wanted = request["want"];
    request.erase("want");
    const auto session = engine->new_session();
    session->prefill(engine->chat_prompt(request.dump()));
    GenerateOptions generate;
    generate.max_tokens = 512;
    const Generation answer = session->generate(generate);
    const ToolCalls calls = parse_tool_calls(answer.text, request["tools"]);
    n_well_formed += calls.well_formed() && !calls.calls.empty() ? 1 : 0;
    n_exact += equal_calls(calls, wanted) ? 1 : 0;
  }
  std::cout << "tool calls: " << n << " requests, " << n_exact << " exact, " << n_well_formed << " well-formed\n";
  EXPECT_EQ(n, 256);
  EXPECT_GE(n_exact, kLeastExact);
  EXPECT_GE(n_well_formed, kLeastWellFormed);
}

}  // namespace
}  // namespace flashmoe
