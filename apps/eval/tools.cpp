#include <fmt/format.h>

#include <sstream>

#include "eval/eval_run.h"
#include "eval/evaluations.h"
#include "flashmoe/error.h"
#include "flashmoe/eval.h"
#include "flashmoe/session.h"
#include "model_options.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kUsualAnswer = 512;  // tokens
constexpr std::string_view kEndOfThought = "</think>";

std::string answer_to(Engine& engine, const nlohmann::ordered_json& request, int max_tokens) {
  const auto session = engine.new_session();
  session->prefill(engine.chat_prompt(request.dump()));
  GenerateOptions generate;
  generate.max_tokens = max_tokens;
  Generation answer = session->generate(generate);
  // Within generate an interruption is an end like others.
  if (answer.reason == StopReason::interrupted) throw Error(Fault::interrupted, "interrupted");
  return std::move(answer.text);
}

bool is_json(std::string answer) {
  if (const size_t at = answer.rfind(kEndOfThought); at != std::string::npos) {
    answer.erase(0, at + kEndOfThought.size());
  }
  const auto parsed = nlohmann::json::parse(answer, nullptr, false);
  return parsed.is_object() || parsed.is_array();
}

void count(EvalRun& run, const char* key, bool counts) {
  auto& number = run.found()[key];
  number = (number.is_null() ? 0 : number.get<int64_t>()) + (counts ? 1 : 0);
}

void judge(EvalRun& run, Engine& engine, nlohmann::ordered_json request, int max_tokens) {
  const bool calls = request.contains("want");
  const nlohmann::ordered_json want = calls ? request["want"] : nlohmann::ordered_json();
  request.erase("want");
  const std::string answer = answer_to(engine, request, max_tokens);
  if (!calls) {
    const bool valid = is_json(answer);
    count(run, "json_cases", true);
    count(run, "json_valid", valid);
    return;
  }
  const ToolCallVerdict verdict =
      judge_tool_calls(answer, request.value("tools", nlohmann::ordered_json()).dump(), want.dump());
  count(run, "tool_cases", true);
  count(run, "well_formed", verdict.well_formed);
  count(run, "exact", verdict.exact);
}

}  // namespace

std::vector<nlohmann::ordered_json> parse_requests(const std::string& text, const std::string& name, int64_t limit) {
  std::istringstream lines(text);
  std::vector<nlohmann::ordered_json> objects;
  int64_t n_line = 0;
  for (std::string line; std::getline(lines, line) && (limit == 0 || static_cast<int64_t>(objects.size()) < limit);) {
    ++n_line;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = nlohmann::ordered_json::parse(line, nullptr, false);
    if (!object.is_object() || !object.value("messages", nlohmann::ordered_json()).is_array()) {
      throw Error(Fault::input, fmt::format("{}: line {}: a JSON object with \"messages\" is expected", name, n_line));
    }
    objects.push_back(std::move(object));
  }
  if (objects.empty()) throw Error(Fault::input, name + ": there is nothing in it");
  return objects;
}

nlohmann::ordered_json evaluate_tools(const EvalOptions& options) {
  std::vector<nlohmann::ordered_json> cases;
  std::string all;
  for (const bool calls : {true, false}) {
    const std::string& path = calls ? options.cases_file : options.json_cases_file;
    if (path.empty()) continue;
    for (auto& one : parse_requests(read_text(path), shown_path(path), options.limit)) {
      if (calls && !one.value("want", nlohmann::ordered_json()).is_array()) {
        throw Error(Fault::input, shown_path(path) + ": a case without \"want\", the list of calls that are wanted");
      }
      if (!calls) one.erase("want");
      all += one.dump() + "\n";
      cases.push_back(std::move(one));
    }
  }
  const std::string model = model_or_builtin(options.engine.model_path);
  const int max_tokens = options.max_tokens > 0 ? options.max_tokens : kUsualAnswer;
  EvalRun run(options, {{"kind", "tools"},
                        {"model", model},
                        {"cases", fingerprint(all)},
                        {"ctx", options.engine.context_tokens},
                        {"max_tokens", max_tokens}});
  const auto engine = run.open(model, options.engine);
  run.each("tools: case", cases.size(), [&](size_t i) { judge(run, *engine, cases[i], max_tokens); });
  nlohmann::ordered_json result = {{"model", model}, {"exact", options.engine.exact}};
  for (const char* key : {"tool_cases", "well_formed", "exact", "json_cases", "json_valid"}) {
    if (run.found().contains(key)) result[key == std::string("exact") ? "exact_calls" : key] = run.found()[key];
  }
  return result;
}

}  // namespace flashmoe
