// flashmoe trace: what a routing trace tells of a model's experts.
#include "flashmoe/trace.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "option_values.h"
#include "quantities.h"
#include "terminal.h"
#include "trace_options.h"
#include "trace_summary.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "FILE is what flashmoe run --trace wrote, or JSON lines of picks.\n"
    "\n"
    "Examples:\n"
    "  flashmoe run -m model.gguf --ram 8G --trace run.trace -p \"Hello\"\n"
    "  flashmoe trace run.trace --disk 7";

struct Chosen {
  TraceQuestion question;
  double cache_share = -1, disk_gb_per_s = -1;
  bool json = false;
};

std::string use_line(const std::string& name, const LayerUse& use) {
  return fmt::format("  {:<6}{:>9.0f}{:>7.2f}{:>8.1f}{:>7.1f}{:>7.1f}{:>9.0f}{:>6.0f}{:>9.1f}{:>9}\n", name,
                     use.distinct, use.gini, 100 * use.top[0], 100 * use.top[1], 100 * use.top[2], use.reuse_p50,
                     use.reuse_p90, 100 * use.next_token,
                     use.next_layer ? fmt::format("{:.1f}", 100 * *use.next_layer) : "-");
}

std::string predictor_line(const PredictorTrial& trial, bool timed) {
  if (!trial.known) return fmt::format("  {:<20}{:>9}\n", trial.name, "not in this trace");
  std::string line =
      fmt::format("  {:<20}{:>8.1f} %{:>12.1f} %", trial.name, 100 * trial.caught, 100 * trial.caught_missing);
  if (timed && trial.faster) line += fmt::format("{:>11.1f} %", 100 * (*trial.faster - 1));
  return line + "\n";
}

std::string missing_options(const TraceAnalysis& a) {
  std::vector<const char*> missing;
  if (a.disk_gb_per_s == 0) missing.push_back("--disk");
  if (a.summary.expert_bytes == 0) missing.push_back("--expert-size");
  if (a.summary.compute_s == 0) missing.push_back("--compute");
  return fmt::format("{}", fmt::join(missing, ", "));
}

std::string trace_text(const TraceAnalysis& a) {
  std::string out = trace_summary_text(a.summary) + "\n";
  out += "  layer  distinct   Gini     top 10, 20, 30 %    reuse p50, 90    next     next\n";
  out += "          experts            of the experts, %        tokens   token %  layer %\n";
  for (size_t l = 0; l < a.layers.size(); ++l) out += use_line(std::to_string(l), a.layers[l]);
  out += use_line("mean", a.all);
  const bool timed = a.disk_gb_per_s > 0 && a.summary.compute_s > 0 && a.summary.expert_bytes > 0;
  out += fmt::format("\n  With {:.1f} % of the experts in memory {:.1f} % of the decoded tokens' picks hit.\n",
                     100 * a.cache_share, 100 * a.hit_rate);
  out += fmt::format("  Reading ahead by a forecast{}, second half of the tokens:\n\n",
                     timed ? fmt::format(", at {:.2f} GB/s", a.disk_gb_per_s) : std::string());
  out += fmt::format("  {:<20}{:>10}{:>14}{}\n", "predictor", "picks", "misses", timed ? "       faster" : "");
  for (const PredictorTrial& trial : a.predictors) out += predictor_line(trial, timed);
  if (!timed) out += "\n  For what they would bring: " + missing_options(a) + ".\n";
  return out;
}

Json use_json(const LayerUse& use) {
  return {{"distinct", use.distinct},
          {"gini", use.gini},
          {"top_10", use.top[0]},
          {"top_20", use.top[1]},
          {"top_30", use.top[2]},
          {"reuse_p50_tokens", use.reuse_p50},
          {"reuse_p90_tokens", use.reuse_p90},
          {"next_token", use.next_token},
          {"next_layer", use.next_layer ? Json(*use.next_layer) : nullptr}};
}

std::string trace_json(const TraceAnalysis& a) {
  const TraceSummary& s = a.summary;
  Json json = {{"model", s.model},
               {"n_layers", s.n_layers},
               {"n_experts", s.n_experts},
               {"n_used", s.n_used},
               {"tokens", s.n_tokens},
               {"decoded", s.n_decoded},
               {"sequences", s.n_sequences},
               {"full", s.full},
               {"cache_bytes", s.cache_bytes},
               {"expert_bytes", s.expert_bytes},
               {"tok_per_s", s.tok_per_s},
               {"compute_s", s.compute_s},
               {"disk_gb_per_s", s.disk_gb_per_s}};
  json["recorded_hit_rate"] = s.recorded ? Json(s.recorded->hit_rate()) : nullptr;
  json["recorded_decode_hit_rate"] = s.recorded_decode ? Json(s.recorded_decode->hit_rate()) : nullptr;
  json["mean"] = use_json(a.all);
  json["layers"] = Json::array();
  for (const LayerUse& use : a.layers) json["layers"].push_back(use_json(use));
  json["predictors"] = {{"cache_share", a.cache_share}, {"hit_rate", a.hit_rate}, {"disk_gb_per_s", a.disk_gb_per_s}};
  for (const PredictorTrial& trial : a.predictors) {
    if (!trial.known) continue;
    json["predictors"][trial.name] = {{"caught", trial.caught}, {"caught_missing", trial.caught_missing}};
    if (trial.faster) json["predictors"][trial.name]["faster"] = *trial.faster;
  }
  return dump(json, 2) + "\n";
}

int run(Chosen& chosen) {
  catch_interrupts();
  ProgressLine progress;
  chosen.question.on_progress = [&](const Progress& step) { progress.show(step); };
  chosen.question.keep_going = [] { return !interrupted(); };
  const TraceQuestion question = questions_of({chosen.question.path}, chosen.question).front();
  const TraceAnalysis analysis = analyse_trace(question, chosen.cache_share, chosen.disk_gb_per_s);
  progress.erase();
  StandardOutput().write(chosen.json ? trace_json(analysis) : trace_text(analysis));
  return kExitOk;
}

}  // namespace

Command add_trace(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("trace", "Tell how a recorded run used its experts");
  options->add_option("FILE", chosen->question.path, "The trace")->required()->check(not_empty);
  const auto take_disk = [chosen](std::string_view text) {
    return take_quantity(text, "a number of GB/s", chosen->disk_gb_per_s);
  };
  add_list(*options, "--disk", "GB/s", take_disk, "Speed of the disk to read ahead from; default: as recorded");
  const auto take_share = [chosen](std::string_view text) {
    double percent = 0;
    if (!read_positive(text, percent) || percent > 100)
      return std::string("a number above 0, and at most 100, is expected");
    chosen->cache_share = percent / 100;
    return std::string();
  };
  add_list(*options, "--cache-share", "PERCENT", take_share,
           "Experts in memory while predictors are tried; default: as recorded, or 20 where all were or none is told");
  options->add_flag("--json", chosen->json, "Print everything as JSON");
  add_question_options(*options, chosen->question);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
