// flashmoe plan: where the memory would go, and how fast that would be, before anything is loaded.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/wording.h"
#include "interrupt.h"
#include "json.h"
#include "model_options.h"
#include "option_values.h"
#include "quantities.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Measures memory, disk and this model's matrices for some seconds; loads nothing.\n"
    "\n"
    "Examples:\n"
    "  flashmoe plan -m model.gguf --ram 8G\n"
    "  flashmoe plan -m model.gguf --ram 8G --ctx 32768 --hit-rate 85 --json";

struct Chosen {
  EngineOptions engine;
  int64_t prompt_tokens = 512, gen_tokens = 64;
  float hit_percent = -1;
  bool json = false;
};

double milliseconds(double seconds) { return 1e3 * seconds; }

std::string plan_text(const Forecast& f) {
  std::string out = f.plan.table() + "\n\n";
  const auto row = [&out](const char* name, const std::string& value) {
    out += fmt::format("  {:<14} {}\n", name, value);
  };
  row("context", fmt::format("{} tokens; prefill in steps of {}", show_count(static_cast<uint64_t>(f.context_tokens)),
                             f.prefill_chunk));
  row("RAM", fmt::format("{:.1f} GB/s", f.speeds.roofs.ram_gb_per_s));
  if (f.plan.left_in_file_bytes > 0) {
    row("embedding", fmt::format("{} stay in the file; a token reads a row", human_bytes(f.plan.left_in_file_bytes)));
  }
  if (f.plan.lent_bytes > 0) {
    row("lent", fmt::format("{} of the above to experts, until they are needed", human_bytes(f.plan.lent_bytes)));
  }
  if (f.plan.experts_resident) {
    row("experts", "all in memory");
  } else {
    row("disk", fmt::format("{:.2f} GB/s, {}", f.speeds.roofs.disk_gb_per_s, f.speeds.roofs.io_mode));
    row("experts", fmt::format("{:.1f} % have a place in memory", 100 * f.cache_share));
    row("hit rate", fmt::format("{:.1f} %, {}", 100 * f.hit_rate, f.hit_rate_source));
  }
  out += "\n";
  row("prefill", fmt::format("{:.1f} tok/s", f.prefill));
  if (f.plan.experts_resident) {
    row("decode", fmt::format("{:.1f} tok/s", f.decode_warm));
    return out;
  }
  row("decode, cold", fmt::format("{:.1f} tok/s", f.decode_cold));
  row("decode, warm", fmt::format("{:.1f} tok/s: {:.1f} ms computing, {:.1f} ms waiting for {}", f.decode_warm,
                                  milliseconds(f.compute_s), milliseconds(f.disk_wait_s),
                                  human_bytes(static_cast<uint64_t>(f.bytes_missed_per_token))));
  return out;
}

std::string plan_json(const Forecast& f) {
  Json json;
  auto allotments = Json::array();
  for (const Allotment& a : f.plan.allotments) {
    allotments.push_back({{"name", a.name}, {"bytes", a.bytes}, {"floor_bytes", a.floor_bytes}});
  }
  json["memory"] = {{"limit_bytes", f.plan.limit_bytes},
                    {"limit_source", f.plan.limit_source},
                    {"budget_bytes", f.plan.budget_bytes()},
                    {"floor_bytes", f.plan.floor_bytes},
                    {"left_in_file_bytes", f.plan.left_in_file_bytes},
                    {"lent_bytes", f.plan.lent_bytes},
                    {"allotments", allotments}};
  json["experts"] = f.plan.experts_resident ? "resident" : "streamed";
  json["context_tokens"] = f.context_tokens;
  json["prefill_chunk"] = f.prefill_chunk;
  json["cache_share"] = f.cache_share;
  json["hit_rate"] = f.hit_rate;
  json["hit_rate_source"] = f.hit_rate_source;
  const bool disk = !f.plan.experts_resident;
  json["roofs"] = {{"ram_gb_per_s", f.speeds.roofs.ram_gb_per_s},
                   {"disk_gb_per_s", disk ? Json(f.speeds.roofs.disk_gb_per_s) : nullptr},
                   {"int8_tops", f.speeds.roofs.int8_tops}};
  json["prefill"] = {{"tok_per_s", f.prefill}};
  json["decode"] = {{"cold_tok_per_s", f.decode_cold},
                    {"warm_tok_per_s", f.decode_warm},
                    {"compute_s", f.compute_s},
                    {"disk_wait_s", f.disk_wait_s},
                    {"bytes_missed_per_token", f.bytes_missed_per_token}};
  return dump(json, 2) + "\n";
}

int run(Chosen& chosen) {
  catch_interrupts();
  chosen.engine.model_path = model_or_builtin(chosen.engine.model_path);
  chosen.engine.keep_going = [] { return !interrupted(); };
  const double hit_rate = static_cast<double>(chosen.hit_percent) / 100;
  ProgressLine progress;
  progress.show({.what = "measuring the machine"});
  const auto engine = Engine::open(chosen.engine);
  if (const int64_t most = engine->report().context_tokens; chosen.prompt_tokens > most) {
    throw Error(Fault::usage, fmt::format("--prompt-tokens {} is more than the model's context of {} tokens",
                                          chosen.prompt_tokens, most));
  }
  const Forecast forecast = engine->forecast(chosen.prompt_tokens, chosen.gen_tokens, hit_rate);
  progress.erase();
  StandardOutput().write(chosen.json ? plan_json(forecast) : plan_text(forecast));
  return kExitOk;
}

}  // namespace

Command add_plan(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("plan", "Tell where the memory would go, and how fast that would be");
  constexpr int64_t kMostTokens = 1 << 20;
  add_number(*options, "--prompt-tokens", chosen->prompt_tokens, int64_t{1}, kMostTokens,
             "Tokens of the prompt to plan for; default 512");
  add_number(*options, "--gen-tokens", chosen->gen_tokens, int64_t{1}, kMostTokens,
             "Tokens of the answer to plan for; default 64");
  add_number(
      *options, "--hit-rate", chosen->hit_percent, 0.0F, 100.0F,
      "Percent of picks found in memory; default: as in benchmarks of this model, or, without any, what is usual for "
      "the share of experts that fit");
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  add_model_options(*options, chosen->engine);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
