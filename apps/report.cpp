// flashmoe report: recorded runs as a page to look at.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "flashmoe/trace.h"
#include "interrupt.h"
#include "option_values.h"
#include "output_file.h"
#include "report_page.h"
#include "terminal.h"
#include "trace_options.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "The page needs no network and no other file.\n"
    "\n"
    "Example:\n"
    "  flashmoe report monday.trace tuesday.trace -o report.html";

constexpr int kPeriods = 120;
constexpr double kShares[] = {0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
constexpr double kUsualShare = 0.2;

struct Chosen {
  TraceQuestion question;
  std::vector<std::string> traces;
  std::string output;
};

ReportedTrace read_trace(const TraceQuestion& question) {
  ReportedTrace t;
  t.analysis = analyse_trace(question);
  t.timeline = draw_trace(question, kPeriods);
  const TraceSummary& s = t.analysis.summary;
  std::vector<WhatIf> settings(1);
  if (s.cache_share == 0) settings.front().cache_share = kUsualShare;
  for (const double share : kShares) {
    if (share >= s.least_cache_share) settings.push_back({.cache_share = share});
  }
  t.curve = simulate_trace(question, settings);
  t.present = t.curve.front();
  t.curve.erase(t.curve.begin());
  return t;
}

int run(Chosen& chosen) {
  catch_interrupts();
  check_writable(chosen.output, chosen.traces);
  ProgressLine progress;
  chosen.question.on_progress = [&](const Progress& step) { progress.show(step); };
  chosen.question.keep_going = [] { return !interrupted(); };
  std::vector<ReportedTrace> traces;
  for (const TraceQuestion& question : questions_of(chosen.traces, chosen.question)) {
    traces.push_back(read_trace(question));
  }
  OutputFile file(chosen.output);
  file.write(report_page(traces));
  file.commit();
  progress.erase();
  return kExitOk;
}

}  // namespace

Command add_report(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  CLI::App* options = cli.add_subcommand("report", "Draw recorded runs as a page");
  options->add_option("TRACE", chosen->traces, "The traces")->required()->check(not_empty);
  add_output(*options, chosen->output, "The page to write");
  add_question_options(*options, chosen->question);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
