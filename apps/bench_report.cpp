#include "bench_report.h"

#include <fmt/format.h>

#include "flashmoe/machine.h"
#include "flashmoe/version.h"
#include "flashmoe/wording.h"
#include "json.h"
#include "quantities.h"
#include "run_description.h"

namespace flashmoe {
namespace {

double percent(double share) { return 100 * share; }

// The lower of two bounds, and how far the run came; the shares say both.
std::string bound_row(const BenchResult& r) {
  const double ram_bound = r.decode.tok_per_s / r.ram_roof_share;
  std::string text = fmt::format("RAM {:.1f} tok/s", ram_bound);
  if (r.disk_roof_share) text += fmt::format(", disk {:.1f} tok/s", r.decode.tok_per_s / *r.disk_roof_share);
  return text;
}

void describe_run(const BenchResult& r, int n_repetitions, Rows& rows) {
  rows.row("model", describe_model(r.model));
  rows.row("machine", describe_machine(r.stats.n_threads, r.stats.kernels, r.stats.exact));
  rows.row("experts", r.plan.experts_resident ? "resident" : "streamed, " + r.stats.io.mode);
  rows.row("memory",
           fmt::format("budget {}, peak {}", human_bytes(r.stats.budget_bytes), human_bytes(r.stats.peak_bytes)));
  rows.row("version", fmt::format("flashmoe {}", describe_version()));
  rows.row("measured",
           fmt::format("{} repetition{} after one to warm up", n_repetitions, n_repetitions == 1 ? "" : "s"));
}

void describe_phase(const char* name, const BenchPhase& phase, int n_repetitions, Rows& rows) {
  const std::string spread = n_repetitions > 1 ? fmt::format("{:.1f} %", percent(phase.spread)) : "-";
  rows.line(fmt::format("{:<16}{:>8}{:>12.2f}{:>11}{:>12.2f}{:>10.1f} %{:>9}", name,
                        show_count(static_cast<uint64_t>(phase.tokens)), phase.tok_per_s, spread, phase.warm_up,
                        percent(phase.hit_rate),
                        phase.bytes_missed > 0 ? human_bytes(static_cast<uint64_t>(phase.bytes_missed)) : "-"));
}

Json phase_json(const BenchPhase& phase) {
  return {{"tokens", phase.tokens},
          {"tok_per_s", phase.tok_per_s},
          {"spread", phase.spread},
          {"warm_up_tok_per_s", phase.warm_up},
          {"hit_rate", phase.hit_rate},
          {"bytes_missed_per_token", phase.bytes_missed},
          {"disk_wait_s_per_token", phase.disk_wait_s}};
}

Json or_null(double value, bool there) { return there ? Json(value) : Json(nullptr); }

}  // namespace

std::string bench_text(const BenchResult& r, int n_repetitions) {
  Rows rows;
  describe_run(r, n_repetitions, rows);
  rows.line("");
  rows.line(fmt::format("{:<16}{:>8}{:>12}{:>11}{:>12}{:>12}{:>9}", "", "tokens", "tok/s", "spread", "warm-up",
                        "hit rate", "missed"));
  describe_phase("prefill", r.prefill, n_repetitions, rows);
  describe_phase("decode", r.decode, n_repetitions, rows);
  rows.line("");
  rows.row("a token reads", fmt::format("{} of memory{}", human_bytes(r.bytes_per_token),
                                        r.decode.bytes_missed > 0
                                            ? fmt::format(", {} of it from disk",
                                                          human_bytes(static_cast<uint64_t>(r.decode.bytes_missed)))
                                            : ""));
  rows.row("RAM", fmt::format("{:.1f} GB/s measured; decode is at {:.1f} % of it", r.roofs.ram_gb_per_s,
                              percent(r.ram_roof_share)));
  if (r.roofs.disk_gb_per_s > 0) {
    rows.row("disk",
             fmt::format(
                 "{:.2f} GB/s measured{}", r.roofs.disk_gb_per_s,
                 r.disk_roof_share ? fmt::format("; decode is at {:.1f} % of it", percent(*r.disk_roof_share)) : ""));
  }
  rows.row("decode bounds", bound_row(r));
  rows.row("int8", fmt::format("{:.2f} TOPS measured", r.roofs.int8_tops));
  rows.row("load", fmt::format("{:.2f} s", r.load_s));
  rows.row("first token", fmt::format("{:.3f} s; {:.3f} s when warming up", r.first_token_s, r.first_token_warm_up_s));
  return rows.text();
}

std::string bench_json(const BenchResult& r, int n_repetitions) {
  Json json;
  json["prefill"] = phase_json(r.prefill);
  json["decode"] = phase_json(r.decode);
  json["decode"]["bytes_per_token"] = r.bytes_per_token;
  json["decode"]["ram_roof_share"] = r.ram_roof_share;
  json["decode"]["disk_roof_share"] = or_null(r.disk_roof_share.value_or(0), r.disk_roof_share.has_value());
  json["roofs"] = {{"ram_gb_per_s", r.roofs.ram_gb_per_s},
                   {"disk_gb_per_s", or_null(r.roofs.disk_gb_per_s, r.roofs.disk_gb_per_s > 0)},
                   {"int8_tops", r.roofs.int8_tops}};
  json["load_s"] = r.load_s;
  json["first_token_s"] = r.first_token_s;
  json["first_token_warm_up_s"] = r.first_token_warm_up_s;
  json["repetitions"] = n_repetitions;
  auto formats = Json::object();
  for (const FormatBytes& format : r.model.formats) formats[format.format] = format.bytes;
  json["model"] = {{"path", r.model.path},
                   {"name", r.model.name},
                   {"family", r.model.family},
                   {"file_bytes", r.model.file_bytes},
                   {"format_bytes", formats}};
  json["experts"] = r.plan.experts_resident ? "resident" : "streamed";
  json["io_mode"] = r.plan.experts_resident ? Json(nullptr) : Json(r.stats.io.mode);
  json["memory"] = {
      {"limit_bytes", r.plan.limit_bytes}, {"budget_bytes", r.stats.budget_bytes}, {"peak_bytes", r.stats.peak_bytes}};
  json["threads"] = r.stats.n_threads;
  json["kernels"] = r.stats.kernels;
  json["exact"] = r.stats.exact;
  json["cpu"] = cpu_name();
  json["version"] = kVersion;
  json["commit"] = source_commit();
  return dump(json, 2) + "\n";
}

}  // namespace flashmoe
