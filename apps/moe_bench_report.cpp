#include "moe_bench_report.h"

#include <fmt/format.h>

#include "flashmoe/machine.h"
#include "flashmoe/version.h"
#include "flashmoe/wording.h"
#include "json.h"
#include "run_description.h"

namespace flashmoe {
namespace {

constexpr double kTold = 0.02;  // a share of the page cache below this is nobody's concern

double percent(double share) { return 100 * share; }

std::string show(double bytes) { return human_bytes(static_cast<uint64_t>(bytes)); }

void describe_run(const MoeBenchResult& r, int n_repetitions, Rows& rows) {
  const bool fewer_layers = r.n_layers != r.model.n_layers, other_k = r.n_used != r.model.n_experts_used;
  rows.row("model", describe_model(r.model));
  rows.row("machine", describe_machine(r.n_threads, r.kernels, r.exact));
  rows.row("experts", fmt::format("{}, {}", r.plan.experts_resident ? "resident" : "streamed", r.io_mode));
  rows.row("cache", fmt::format("holds {:.1f} % of {} layers' experts", percent(r.cache_share), r.n_layers));
  rows.row("a token picks", fmt::format("{} of {} experts in {} layers{}", r.n_used, r.model.n_experts, r.n_layers,
                                        fewer_layers && other_k ? "; neither is the whole model's"
                                        : fewer_layers          ? fmt::format("; the model has {}", r.model.n_layers)
                                        : other_k ? fmt::format("; the model picks {}", r.model.n_experts_used)
                                                  : ""));
  rows.row("picks", r.picks);
  rows.row("version", fmt::format("flashmoe {}", describe_version()));
  rows.row("measured", fmt::format("cold: from an empty cache; warm: {} repetition{} after it", n_repetitions,
                                   n_repetitions == 1 ? "" : "s"));
}

void describe_phase(const char* name, const MoeBenchPhase& p, Rows& rows) {
  const bool read = p.io_gb_per_s > 0;
  rows.line(fmt::format("{:<5}{:>9.2f}{:>7}{:>7.1f} %{:>9}{:>6}{:>8}{:>8.1f}{:>7.1f} %{:>9.2f}", name, p.tok_per_s,
                        p.spread > 0 ? fmt::format("{:.1f} %", percent(p.spread)) : "-", percent(p.hit_rate),
                        read ? show(p.bytes_missed) : "-", read ? fmt::format("{:.2f}", p.io_gb_per_s) : "-",
                        p.disk_roof_share ? fmt::format("{:.1f} %", percent(*p.disk_roof_share)) : "-",
                        p.compute_gb_per_s, percent(p.ram_roof_share), p.bound_tok_per_s));
}

// Reads that came from memory say nothing about the drive.
void warn(const char* name, const MoeBenchPhase& p, Rows& rows) {
  if (!p.page_cache_share || *p.page_cache_share < kTold) return;
  rows.line(fmt::format("{}: {:.0f} % of the bytes read came from the page cache, which flatters the disk;", name,
                        percent(*p.page_cache_share)));
  rows.line("  --io uring or pread reads past it");
}

Json phase_json(const MoeBenchPhase& p) {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  return {{"tokens", p.tokens},
          {"tok_per_s", p.tok_per_s},
          {"spread", p.spread},
          {"hit_rate", p.hit_rate},
          {"bytes_missed_per_token", p.bytes_missed},
          {"bytes_computed_per_token", p.bytes_computed},
          {"disk_wait_s_per_token", p.disk_wait_s},
          {"io_gb_per_s", p.io_gb_per_s},
          {"compute_gb_per_s", p.compute_gb_per_s},
          {"disk_roof_share", or_null(p.disk_roof_share)},
          {"ram_roof_share", p.ram_roof_share},
          {"bound_tok_per_s", p.bound_tok_per_s},
          {"page_cache_share", or_null(p.page_cache_share)}};
}

}  // namespace

std::string moe_bench_text(const MoeBenchResult& r, int n_repetitions) {
  Rows rows;
  describe_run(r, n_repetitions, rows);
  rows.line("");
  rows.line(fmt::format("{:<5}{:>9}{:>7}{:>9}{:>9}{:>6}{:>8}{:>8}{:>9}{:>9}", "", "", "", "", "missed", "I/O",
                        "of disk", "compute", "of RAM", "bound"));
  rows.line(fmt::format("{:<5}{:>9}{:>7}{:>9}{:>9}{:>6}{:>8}{:>8}{:>9}{:>9}", "", "tok/s", "spread", "hit rate",
                        "a token", "GB/s", "roof", "GB/s", "roof", "tok/s"));
  describe_phase("cold", r.cold, rows);
  describe_phase("warm", r.warm, rows);
  rows.line("");
  rows.row("a token reads", fmt::format("{} of experts from memory", show(r.warm.bytes_computed)));
  rows.row("roofs",
           fmt::format("RAM {:.1f} GB/s, disk {:.2f} GB/s measured", r.roofs.ram_gb_per_s, r.roofs.disk_gb_per_s));
  rows.row("speed",
           fmt::format("cold {:.1f} %, warm {:.1f} % of its bound", percent(r.cold.tok_per_s / r.cold.bound_tok_per_s),
                       percent(r.warm.tok_per_s / r.warm.bound_tok_per_s)));
  if (r.ram_roof_once) {
    rows.line("RAM was measured before the first repetition only: beside the experts there is");
    rows.line("  no room for it; where its roof swings, so do the shares of it");
  }
  warn("cold", r.cold, rows);
  warn("warm", r.warm, rows);
  if (r.trace_rounds > 0) {
    rows.line(fmt::format("the trace began anew {} time{}: what was read in one round is hit in the next",
                          r.trace_rounds, r.trace_rounds == 1 ? "" : "s"));
  }
  return rows.text();
}

std::string moe_bench_json(const MoeBenchResult& r, int n_repetitions) {
  Json json = {{"cold", phase_json(r.cold)}, {"warm", phase_json(r.warm)}};
  json["roofs"] = {{"ram_gb_per_s", r.roofs.ram_gb_per_s},
                   {"disk_gb_per_s", r.roofs.disk_gb_per_s},
                   {"ram_measured_once", r.ram_roof_once}};
  json["repetitions"] = n_repetitions;
  json["layers"] = r.n_layers;
  json["picks_per_layer"] = r.n_used;
  json["whole_model"] = r.n_layers == r.model.n_layers && r.n_used == r.model.n_experts_used;
  json["picks"] = r.picks;
  json["trace_rounds"] = r.trace_rounds;
  json["cache_share"] = r.cache_share;
  json["experts"] = r.plan.experts_resident ? "resident" : "streamed";
  json["io_mode"] = r.io_mode;
  json["model"] = {
      {"path", r.model.path}, {"name", r.model.name}, {"family", r.model.family}, {"file_bytes", r.model.file_bytes}};
  json["memory"] = {{"limit_bytes", r.plan.limit_bytes}, {"budget_bytes", r.plan.budget_bytes()}};
  json["threads"] = r.n_threads;
  json["kernels"] = r.kernels;
  json["exact"] = r.exact;
  json["cpu"] = cpu_name();
  json["version"] = kVersion;
  json["commit"] = source_commit();
  return dump(json, 2) + "\n";
}

}  // namespace flashmoe
