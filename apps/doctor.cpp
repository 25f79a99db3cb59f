// flashmoe doctor: what is wrong with this machine or this model, and what mends it.
#include "flashmoe/doctor.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <sstream>

#include "commands.h"
#include "flashmoe/wording.h"
#include "interrupt.h"
#include "json.h"
#include "model_options.h"
#include "option_values.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Without -m only the machine is examined. Measures for some seconds, and reads\n"
    "what every token of the model needs.\n"
    "Exit code 0: no problem; 1: a problem, which stands with its mend.\n"
    "\n"
    "Examples:\n"
    "  flashmoe doctor\n"
    "  flashmoe doctor -m model.gguf --ram 8G";

constexpr size_t kColumns = 80;
constexpr size_t kTextColumn = 25;

// Words of `text` from kTextColumn on, on as many lines as they take.
std::string wrapped(std::string line, const std::string& text) {
  std::string out;
  line.resize(kTextColumn, ' ');
  bool first = true;
  std::istringstream words(text);
  for (std::string word; words >> word; first = false) {
    if (!first && line.size() + 1 + word.size() > kColumns) {
      out += line + "\n";
      line.assign(kTextColumn, ' ');
      first = true;
    }
    line += (first ? "" : " ") + word;
  }
  return out + line + "\n";
}

std::string page(const Examination& examination) {
  std::string out;
  for (const Finding& f : examination.findings) {
    const char* verdict = kVerdictNames[static_cast<size_t>(f.verdict)];
    out += wrapped(fmt::format("{:<8} {:<15}", verdict, f.what), without_controls(f.found));
    if (!f.mend.empty()) out += wrapped(fmt::format("{:>23}", "mend:"), f.mend);
  }
  return out;
}

std::string json_of(const Examination& examination, bool healthy) {
  Json json;
  json["healthy"] = healthy;
  json["findings"] = Json::array();
  for (const Finding& f : examination.findings) {
    json["findings"].push_back({{"what", f.what},
                                {"verdict", kVerdictNames[static_cast<size_t>(f.verdict)]},
                                {"found", f.found},
                                {"mend", f.mend}});
  }
  if (examination.forecast) {
    json["decode_tok_per_s"] = examination.forecast->decode_warm;
    json["prefill_tok_per_s"] = examination.forecast->prefill;
  }
  return dump(json, 2) + "\n";
}

int run(EngineOptions& options, bool as_json) {
  catch_interrupts();
  options.keep_going = [] { return !interrupted(); };
  ProgressLine progress;
  progress.show({.what = "measuring the machine"});
  options.on_progress = [&](const Progress& step) { progress.show(step); };
  const Examination examination = examine(options);
  const bool healthy = std::none_of(examination.findings.begin(), examination.findings.end(),
                                    [](const Finding& f) { return f.verdict == Verdict::problem; });
  progress.erase();
  StandardOutput().write(as_json ? json_of(examination, healthy) : page(examination));
  return healthy ? kExitOk : kExitFailed;
}

}  // namespace

Command add_doctor(CLI::App& cli) {
  struct Chosen {
    EngineOptions engine;
    bool json = false;
  };
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("doctor", "Find what is wrong with the machine or a model");
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  add_model_options(*options, chosen->engine);
  make_model_optional(*options, "none, the machine alone is examined");
  options->footer(kFooter);
  return {options, [chosen] { return run(chosen->engine, chosen->json); }};
}

}  // namespace flashmoe
