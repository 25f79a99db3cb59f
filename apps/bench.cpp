// flashmoe bench: how fast a model runs here, and what share that is of what the machine can do.
#include "flashmoe/bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "bench_report.h"
#include "commands.h"
#include "interrupt.h"
#include "model_options.h"
#include "option_values.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "The roofs are measured with the same threads and files: memory between tokens,\n"
    "disk and int8 around each repetition; have nothing else running.\n"
    "\n"
    "Examples:\n"
    "  flashmoe bench -m model.gguf\n"
    "  flashmoe bench -m model.gguf --ram 8G --gen-tokens 200 --json > 8G.json";

constexpr int64_t kMostTokens = 1 << 20;

struct Chosen {
  EngineOptions engine;
  BenchOptions bench;
  bool json = false;
};

int run(Chosen& chosen) {
  ProgressLine progress;
  catch_interrupts();
  chosen.bench.remember = true;
  chosen.engine.model_path = model_or_builtin(chosen.engine.model_path);
  chosen.engine.on_progress = [&](const Progress& step) { progress.show(step); };
  chosen.engine.keep_going = [] { return !interrupted(); };
  progress.show({.what = "measuring the machine"});
  const BenchResult result = run_bench(chosen.engine, chosen.bench);
  progress.erase();
  const int n = chosen.bench.n_repetitions;
  StandardOutput().write(chosen.json ? bench_json(result, n) : bench_text(result, n));
  return kExitOk;
}

}  // namespace

Command add_bench(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("bench", "Measure speed, and its share of what the machine can do");
  add_number(*options, "--prompt-tokens", chosen->bench.prompt_tokens, int64_t{1}, kMostTokens,
             "Tokens of each made-up prompt; default 512");
  add_number(*options, "--gen-tokens", chosen->bench.gen_tokens, int64_t{1}, kMostTokens,
             "Tokens to generate, past any end mark; default 64");
  add_number(*options, "--repeat", chosen->bench.n_repetitions, 1, 1000,
             "Repetitions to measure, after one to warm up; default 3");
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
