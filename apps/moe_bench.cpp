// flashmoe moe-bench: how fast the routed experts alone are fetched and computed here.
#include "flashmoe/moe_bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "interrupt.h"
#include "layer_list.h"
#include "model_options.h"
#include "moe_bench_report.h"
#include "option_values.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Picks are drawn, every expert as likely as any other, which is the worst case\n"
    "for a cache; --trace replays what a router picked. The roofs are measured with\n"
    "the same threads and files: memory between steps, disk around each repetition.\n"
    "\n"
    "Examples:\n"
    "  flashmoe moe-bench -m model.gguf --ram 8G\n"
    "  flashmoe moe-bench -m model.gguf --ram 8G --trace run.trace --tokens 100\n"
    "  flashmoe moe-bench -m model.gguf --layers 0-7 --k 4 --threads 1";

constexpr int64_t kMostTokens = 1 << 20;

struct Chosen {
  EngineOptions engine;
  MoeBenchOptions bench;
  bool json = false;
};

int run(Chosen& chosen) {
  ProgressLine progress;
  catch_interrupts();
  chosen.engine.model_path = model_or_builtin(chosen.engine.model_path);
  chosen.engine.on_progress = [&](const Progress& step) { progress.show(step); };
  chosen.engine.keep_going = [] { return !interrupted(); };
  progress.show({.what = "measuring the machine"});
  const MoeBenchResult result = run_moe_bench(chosen.engine, chosen.bench);
  progress.erase();
  const int n = chosen.bench.n_repetitions;
  StandardOutput().write(chosen.json ? moe_bench_json(result, n) : moe_bench_text(result, n));
  return kExitOk;
}

}  // namespace

Command add_moe_bench(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  MoeBenchOptions& bench = chosen->bench;
  CLI::App* options = cli.add_subcommand("moe-bench", "Measure the routed experts alone, without attention");
  add_list(
      *options, "--layers", "LAYER,...", [&bench](std::string_view text) { return take_layers(text, bench.layers); },
      "Layers to go through, such as 0-7,12; default: all");
  add_number(*options, "--k", bench.n_used, 1, 65536, "Experts that a token picks in each layer; default: the model's");
  add_number(*options, "--tokens", bench.n_tokens, int64_t{1}, kMostTokens, "Tokens of a repetition; default 32");
  add_number(*options, "--repeat", bench.n_repetitions, 1, 1000,
             "Warm repetitions to measure, after the cold one; default 3");
  options->add_option("--trace", bench.trace_path, "Replay the picks of this trace's decoded tokens")
      ->option_text("FILE")
      ->check(not_empty);
  add_number(*options, "--seed", bench.seed, uint64_t{0}, std::numeric_limits<uint64_t>::max(),
             "Of the picks that are drawn: the same seed, the same picks; default 1")
      ->excludes("--trace");
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
