#include "statistics.h"

#include <fmt/format.h>

#include <algorithm>

#include "flashmoe/wording.h"
#include "json.h"
#include "quantities.h"

namespace flashmoe {
namespace {

constexpr size_t at(LayerKind kind) { return static_cast<size_t>(kind); }
constexpr size_t at(Stage stage) { return static_cast<size_t>(stage); }

// Stages 3 to 8 belong to layers, the others to the model as a whole.
bool belongs(size_t kind, size_t stage) {
  const bool of_layers = stage >= at(Stage::norm_mix) && stage <= at(Stage::experts);
  return of_layers == (kind != at(LayerKind::model));
}

std::string tokens(const PhaseStats& phase) {
  return show_count(phase.tokens) + (phase.tokens == 1 ? " token" : " tokens") +
         (phase.timed_tokens > 0 ? fmt::format(", {:.1f} tok/s", phase.tok_per_s()) : "");
}

Json phase_json(const PhaseStats& phase) {
  return {{"tokens", phase.tokens}, {"tok_per_s", phase.timed_tokens > 0 ? Json(phase.tok_per_s()) : nullptr}};
}

Json stages_json(const StageTimes& stages) {
  auto all = Json::object();
  for (size_t kind = 0; kind < kLayerKindCount; ++kind) {
    auto& of_kind = all[kLayerKindNames[kind]] = Json::object();
    for (size_t stage = 0; stage < kStageCount; ++stage) {
      const uint64_t ns = stages.ns[kind][stage];
      if (!belongs(kind, stage) && ns == 0) continue;
      const char* name = kStageNames[stage];  // "norm" occurs twice and is summed
      of_kind[name] = of_kind.value(name, 0.0) + static_cast<double>(ns) * 1e-9;
    }
  }
  return all;
}

std::string row(const char* name, const std::string& value) { return fmt::format("  {:<12}  {}\n", name, value); }

std::string read_ahead_text(const IoStats& io) {
  const ReadAheadStats& ahead = io.read_ahead;
  std::string text = ahead.verdict;
  if (ahead.guessed > 0) {
    text += fmt::format("; {} of {} guesses used, {} wasted", show_count(ahead.used), show_count(ahead.guessed),
                        human_bytes(ahead.wasted_bytes));
  }
  if (io.warm_up_bytes > 0) text += fmt::format("; {} while idle", human_bytes(io.warm_up_bytes));
  return text;
}

}  // namespace

const char* show_reason(StopReason reason) {
  switch (reason) {
    case StopReason::end_of_turn:
      return "end of turn";
    case StopReason::stop_text:
      return "stop text";
    case StopReason::max_tokens:
      return "token limit";
    case StopReason::context_full:
      return "context full";
    case StopReason::interrupted:
      return "interrupted";
  }
  return "";
}

std::string statistics_text(const Stats& stats, StopReason reason) {
  return "\nstatistics\n" + row("load", fmt::format("{:.2f} s", stats.load_s)) + row("prompt", tokens(stats.prompt)) +
         (stats.ttft_s > 0 ? row("first token", fmt::format("{:.3f} s", stats.ttft_s)) : "") +
         row("decode", fmt::format("{}; {}", tokens(stats.decode), show_reason(reason))) + engine_text(stats);
}

std::string engine_text(const Stats& stats) {
  std::string out;
  const auto add = [&out](const char* name, const std::string& value) { out += row(name, value); };
  add("experts", fmt::format("{} hits, {} misses, hit rate {:.1f} %", show_count(stats.cache.hits),
                             show_count(stats.cache.misses), 100 * stats.cache.hit_rate()));
  add("cache", human_bytes(stats.cache.bytes) +
                   (stats.cache.lent_bytes > 0
                        ? fmt::format(", {} of it lent until it is needed", human_bytes(stats.cache.lent_bytes))
                        : ""));
  if (stats.cache.given_back_bytes > 0) {
    add("", fmt::format("{} of the cache given back: memory was short", human_bytes(stats.cache.given_back_bytes)));
  }
  add("read", fmt::format("{}{}, waited {:.2f} s", human_bytes(stats.io.all_bytes()),
                          stats.io.all_bytes() > 0 ? fmt::format(", {:.2f} GB/s", stats.io.gb_per_s()) : "",
                          static_cast<double>(stats.io.wait_ns) * 1e-9));
  add("read ahead", read_ahead_text(stats.io));
  add("I/O", stats.io.mode.empty() ? "none" : stats.io.mode);
  add("memory", fmt::format("budget {}, peak {}", human_bytes(stats.budget_bytes), human_bytes(stats.peak_bytes)));
  add("kernels", fmt::format("{}, {} thread{}{}", stats.kernels, stats.n_threads, stats.n_threads == 1 ? "" : "s",
                             stats.exact ? ", exact" : ""));
  return out;
}

std::string timing_table(const StageTimes& stages) {
  uint64_t all = 0;
  for (const auto& kind : stages.ns) {
    for (const uint64_t ns : kind) all += ns;
  }
  const auto milliseconds = [](uint64_t ns) { return static_cast<double>(ns) * 1e-6; };
  const auto share = [all](uint64_t ns) {
    return all == 0 ? 0.0 : 100 * static_cast<double>(ns) / static_cast<double>(all);
  };
  std::vector<size_t> kinds;  // that this model has
  std::string out = fmt::format("\n  {:<12}", "stage, ms");
  for (size_t kind = 0; kind < kLayerKindCount; ++kind) {
    const auto& ns = stages.ns[kind];
    if (std::all_of(ns.begin(), ns.end(), [](uint64_t stage_ns) { return stage_ns == 0; })) continue;
    kinds.push_back(kind);
    out += fmt::format("{:>12}", kLayerKindNames[kind]);
  }
  out += fmt::format("{:>12}{:>8}\n", "all", "share");
  for (size_t stage = 0; stage < kStageCount; ++stage) {
    out += fmt::format("  {} {:<10}", stage + 1, kStageNames[stage]);
    uint64_t sum = 0;
    for (const size_t kind : kinds) {
      const uint64_t ns = stages.ns[kind][stage];
      sum += ns;
      out += belongs(kind, stage) || ns > 0 ? fmt::format("{:>12.2f}", milliseconds(ns)) : fmt::format("{:>12}", "");
    }
    out += fmt::format("{:>12.2f}{:>6.1f} %\n", milliseconds(sum), share(sum));
  }
  return out + fmt::format("  {:<12}{:>{}.2f}\n", "all", milliseconds(all), 12 * (kinds.size() + 1));
}

std::string statistics_json(const Stats& stats, StopReason reason, bool with_stages) {
  Json json;
  json["load_s"] = stats.load_s;
  json["ttft_s"] = stats.ttft_s > 0 ? Json(stats.ttft_s) : nullptr;
  json["prompt"] = phase_json(stats.prompt);
  json["decode"] = phase_json(stats.decode);
  json["cache"] = {{"hits", stats.cache.hits},
                   {"misses", stats.cache.misses},
                   {"hit_rate", stats.cache.hit_rate()},
                   {"bytes", stats.cache.bytes},
                   {"lent_bytes", stats.cache.lent_bytes},
                   {"given_back_bytes", stats.cache.given_back_bytes}};
  json["io"] = {{"mode", stats.io.mode},
                {"bytes_read", stats.io.all_bytes()},
                {"gb_per_s", stats.io.all_bytes() > 0 ? Json(stats.io.gb_per_s()) : nullptr},
                {"wait_s", static_cast<double>(stats.io.wait_ns) * 1e-9},
                {"warm_up_bytes", stats.io.warm_up_bytes}};
  const ReadAheadStats& ahead = stats.io.read_ahead;
  json["read_ahead"] = {{"verdict", ahead.verdict},
                        {"guessed", ahead.guessed},
                        {"used", ahead.used},
                        {"wasted_bytes", ahead.wasted_bytes}};
  json["memory"] = {{"budget_bytes", stats.budget_bytes}, {"peak_bytes", stats.peak_bytes}};
  json["stages"] = with_stages ? stages_json(stats.stages) : Json::object();
  json["stop"] = show_reason(reason);
  json["kernels"] = stats.kernels;
  json["threads"] = stats.n_threads;
  json["exact"] = stats.exact;
  return dump(json, 2) + "\n";
}

}  // namespace flashmoe
