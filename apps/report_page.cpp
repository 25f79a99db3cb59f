#include "report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "flashmoe/version.h"
#include "flashmoe/wording.h"
#include "quantities.h"
#include "svg_chart.h"

namespace flashmoe {
namespace {

// Dark on light or light on dark, and in print; lightness alone tells series and shades apart.
constexpr const char* kStyle = R"(
:root{--ink:#16202a;--faint:#5b6772;--grid:#dfe4e8;--paper:#fff;--card:#f6f8fa;--a:#14508c;--b:#c2620a;--heat:20,80,140}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--faint:#9aa7b3;--grid:#36414b;--paper:#12181e;--card:#1b232b;
--a:#6db3f2;--b:#f2b366;--heat:109,179,242}}
*{box-sizing:border-box}body{margin:0 auto;padding:16px;max-width:1080px;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}h1{font-size:1.5em;margin:.2em 0}h2{font-size:1.2em;margin:1.6em 0 .4em;
border-top:2px solid var(--ink);padding-top:.5em;overflow-wrap:anywhere}h3{font-size:1em;margin:0 0 .3em}
p{margin:.3em 0;color:var(--faint)}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));
gap:14px}.card{background:var(--card);border-radius:8px;padding:12px;break-inside:avoid;min-width:0}
svg{display:block;width:100%;height:auto}text{fill:var(--ink);font:10.5px system-ui,sans-serif}
.grid{stroke:var(--grid);fill:none}.line{fill:none;stroke:var(--a);stroke-width:2}
.line1{stroke:var(--b);stroke-dasharray:5 3}.mark{stroke:var(--faint);stroke-dasharray:2 3;fill:none}
.dot{fill:var(--b);stroke:var(--ink)}.bar{fill:var(--a)}.frame{fill:none;stroke:var(--faint)}
.heat{fill:rgb(var(--heat))}.s0{fill-opacity:0}.s1{fill-opacity:.1}.s2{fill-opacity:.22}.s3{fill-opacity:.36}
.s4{fill-opacity:.5}.s5{fill-opacity:.66}.s6{fill-opacity:.82}.s7{fill-opacity:1}.key{stroke:var(--faint)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:3px 10px 3px 0;text-align:left;border-bottom:1px solid var(--grid);white-space:nowrap}
td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8em}td+td,th+th{text-align:right}
@media screen and (max-width:760px){table,tbody,tr,td{display:block}th{display:none}tr{margin:.6em 0}
td+td{display:flex;justify-content:space-between;padding-right:0}td+td::before{content:attr(data-name);color:var(--faint)}
td:first-child{font-weight:bold}}
@media print{:root{--ink:#000;--faint:#444;--grid:#ccc;--paper:#fff;--card:#fff;--a:#14508c;--b:#c2620a;--heat:20,80,140}
body{max-width:none;padding:0;font-size:11px}.card{border:1px solid #ccc}
.cards{grid-template-columns:1fr 1fr}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

// Two digits behind the point, or three digits where it is smaller than one.
std::string digits(double value) { return fmt::format("{:.{}f}", value, value >= 100 ? 0 : value >= 1 ? 2 : 3); }

std::string card(const std::string& heading, const std::string& content, const std::string& note = "") {
  return fmt::format("<section class=\"card\"><h3>{}</h3>{}{}</section>\n", heading, content,
                     note.empty() ? "" : "<p>" + note + "</p>");
}

// Tokens at the middle of each period against what `value` makes of it.
ChartLine over_time(const TraceTimeline& timeline, const std::string& name, double (*value)(const TracePeriod&)) {
  ChartLine line{name, {}};
  double token = 0;
  for (const TracePeriod& period : timeline.periods) {
    const auto n = static_cast<double>(period.n_tokens);
    line.points.push_back({token + n / 2, value(period)});
    token += n;
  }
  return line;
}

std::string hits_card(const ReportedTrace& t) {
  const auto percent = [](const TracePeriod& p) { return 100 * p.hit_rate; };
  if (!t.analysis.summary.recorded || t.timeline.periods.empty()) return "";
  return card("Hit rate over time", draw({.title = "Hit rate over time",
                                          .x_label = "decoded token",
                                          .y_label = "hit rate, %",
                                          .lines = {over_time(t.timeline, "", percent)},
                                          .y_most = 100,
                                          .marks = {},
                                          .mark_name = {}}));
}

std::string bytes_card(const ReportedTrace& t) {
  if (!t.analysis.summary.recorded || t.timeline.periods.empty()) return "";
  const auto megabytes = [](const TracePeriod& p) { return 1e-6 * p.bytes_per_token; };
  const auto rate = [](const TracePeriod& p) { return p.gb_per_s; };
  const auto chart = [&](const char* what, const char* unit, double (*value)(const TracePeriod&)) {
    return draw({.title = what,
                 .x_label = "decoded token",
                 .y_label = unit,
                 .lines = {over_time(t.timeline, "", value)},
                 .marks = {},
                 .mark_name = {}});
  };
  return card("Bytes missed", chart("Bytes missed for each token", "MB a token", megabytes)) +
         card("Rate of misses", chart("Bytes missed over time", "GB/s", rate),
              t.analysis.summary.disk_gb_per_s > 0
                  ? fmt::format("Over all of the time. While reads were under way the disk gave {:.2f} GB/s.",
                                t.analysis.summary.disk_gb_per_s)
                  : std::string());
}

std::string stages_card(const char* heading, const std::array<double, kStageCount>& seconds) {
  std::vector<ChartBar> bars;
  double all = 0;
  for (const double s : seconds) all += s;
  if (all == 0) return "";
  for (size_t i = 0; i < seconds.size(); ++i) {
    if (i == static_cast<size_t>(Stage::tokenise)) continue;
    bars.push_back({fmt::format("{} {}", i + 1, kStageNames[i]), seconds[i],
                    fmt::format("{} ms, {:.0f} %", digits(1e3 * seconds[i]), 100 * seconds[i] / all)});
  }
  return card(heading, draw_bars(heading, bars));
}

std::string latency_card(const TraceTimeline& timeline) {
  const auto& ms = timeline.latency_ms;
  if (ms.empty() || ms.back() <= 0) return "";
  const auto at = [&](double part) { return ms[static_cast<size_t>(part * static_cast<double>(ms.size() - 1))]; };
  const double last = std::max(at(0.99) * 1.1, ms.front() + 1e-6), first = 0;
  std::vector<double> counts(40, 0);
  for (const double value : ms) {
    const double share = (value - first) / (last - first);
    ++counts[std::min(counts.size() - 1, static_cast<size_t>(share * static_cast<double>(counts.size())))];
  }
  return card("Time of a token", draw_histogram("Time of a decoded token", "milliseconds", first, last, counts),
              fmt::format("Half within {} ms, 90 % within {}, 99 % within {}; the slowest {}. The last bar "
                          "holds all that are slower.",
                          digits(at(0.5)), digits(at(0.9)), digits(at(0.99)), digits(ms.back())));
}

std::string heat_card(const TraceAnalysis& a) {
  const auto n_rows = static_cast<size_t>(a.summary.n_layers);
  const size_t n_columns = a.rates.size() / n_rows;
  std::vector<float> sorted = a.rates;
  for (size_t r = 0; r < n_rows; ++r) {
    const auto begin = sorted.begin() + static_cast<std::ptrdiff_t>(r * n_columns);
    std::sort(begin, begin + static_cast<std::ptrdiff_t>(n_columns), std::greater<>());
  }
  return card("Experts of each layer",
              draw_heat_map("How often each expert is picked", "experts by number", "layer", a.rates, n_rows)) +
         card("The same, busiest first",
              draw_heat_map("How often each expert is picked, sorted", "experts, busiest first", "layer", sorted,
                            n_rows),
              fmt::format("Gini {:.2f}; the busiest tenth takes {:.0f} % of the picks.", a.all.gini,
                          100 * a.all.top[0]));
}

std::string curve_card(const ReportedTrace& t) {
  ChartLine line{"", {}};
  for (const WhatIfResult& r : t.curve) line.points.push_back({100 * r.cache_share, 100 * r.decode.hit_rate()});
  return card("What a cache would hit",
              draw({.title = "Hit rate against size of the cache",
                    .x_label = "experts in memory, %",
                    .y_label = "hit rate of decode, %",
                    .lines = {line},
                    .x_most = 100,
                    .y_most = 100,
                    .marks = {{100 * t.present.cache_share, 100 * t.present.decode.hit_rate()}},
                    .mark_name = fmt::format("here: {:.0f} %", 100 * t.present.cache_share)}),
              "Replayed through the engine's own cache, from empty.");
}

std::string speed_card(const ReportedTrace& t) {
  ChartLine line{"", {}};
  for (const WhatIfResult& r : t.curve) {
    if (r.tok_per_s) line.points.push_back({100 * r.cache_share, *r.tok_per_s});
  }
  if (line.points.empty() || !t.present.tok_per_s) return "";
  return card("How fast that would be", draw({.title = "Speed against size of the cache",
                                              .x_label = "experts in memory, %",
                                              .y_label = "tok/s",
                                              .lines = {line},
                                              .x_most = 100,
                                              .marks = {{100 * t.present.cache_share, *t.present.tok_per_s}},
                                              .mark_name = fmt::format("here: {:.1f} tok/s", *t.present.tok_per_s)}));
}

std::string number_or_dash(double value, const char* unit) {
  return value > 0 ? fmt::format("{:.2f}{}", value, unit) : "-";
}

std::string table(std::span<const ReportedTrace> traces) {
  constexpr std::array<const char*, 9> kNames = {"trace",  "tokens",    "cache",   "of experts", "hit rate",
                                                 "decode", "computing", "waiting", "disk"};
  std::string out = "<table><tr>";
  for (const char* name : kNames) out += fmt::format("<th>{}</th>", name);
  out += "</tr>";
  for (const ReportedTrace& t : traces) {
    const TraceSummary& s = t.analysis.summary;
    const bool timed = s.tok_per_s > 0;
    const std::array<std::string, kNames.size()> cells = {
        escaped(std::filesystem::path(s.path).filename().string()),
        show_count(s.n_tokens),
        s.cache_bytes > 0 ? human_bytes(s.cache_bytes) : "-",
        s.cache_share > 0 ? fmt::format("{:.1f} %", 100 * s.cache_share) : "-",
        s.recorded ? fmt::format("{:.1f} %", 100 * s.recorded->hit_rate()) : "-",
        number_or_dash(s.tok_per_s, " tok/s"),
        number_or_dash(timed ? 1e3 * s.compute_s : 0, " ms"),
        number_or_dash(timed ? 1e3 * (1 / s.tok_per_s - s.compute_s) : 0, " ms"),
        number_or_dash(s.disk_gb_per_s, " GB/s")};
    out += "<tr>";
    for (size_t i = 0; i < cells.size(); ++i) out += fmt::format("<td data-name=\"{}\">{}</td>", kNames[i], cells[i]);
    out += "</tr>";
  }
  return out + "</table>\n";
}

std::string describe(const ReportedTrace& t) {
  const TraceSummary& s = t.analysis.summary;
  std::string out = fmt::format("<h2>{}</h2><p>{}: {} layers of {} experts, {} used; {} tokens, {} of them decoded.",
                                escaped(std::filesystem::path(s.path).filename().string()), escaped(s.model),
                                s.n_layers, s.n_experts, s.n_used, show_count(s.n_tokens), show_count(s.n_decoded));
  if (!s.cpu.empty()) {
    out += fmt::format(" {}, {} threads, {} kernels; {}.", escaped(s.cpu), s.n_threads, escaped(s.kernels),
                       escaped(s.io_mode));
  }
  if (s.full) out += " The size limit was reached before the run ended.";
  return out + "</p>\n<div class=\"cards\">\n" + hits_card(t) + curve_card(t) + speed_card(t) +
         latency_card(t.timeline) + stages_card("Time of a decoded token, by stage", t.timeline.decode_stage_s) +
         stages_card("Time of a prompt's token, by stage", t.timeline.prefill_stage_s) + bytes_card(t) +
         heat_card(t.analysis) + "</div>\n";
}

}  // namespace

std::string report_page(std::span<const ReportedTrace> traces) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\"><title>flashmoe report</title>\n<style>";
  out += kStyle;
  out += "</style></head><body>\n<h1>How experts were used</h1>\n" + table(traces);
  for (const ReportedTrace& t : traces) out += describe(t);
  return out + fmt::format(
                   "<p>flashmoe {}. Hits are those of the recorded run; what other caches would do is replayed.</p>"
                   "\n</body></html>\n",
                   kVersion);
}

}  // namespace flashmoe
