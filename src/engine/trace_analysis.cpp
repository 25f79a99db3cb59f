#include <memory>
#include <utility>
#include <vector>

#include "engine/trace_pass.h"
#include "engine/trace_predictors.h"
#include "engine/trace_settings.h"
#include "engine/trace_use.h"

namespace flashmoe {
namespace {

constexpr double kUsualShare = 0.2;  // of the experts, where a trace tells of no cache

}  // namespace

TraceTells trace_tells(const TraceQuestion& question) {
  const TracePasses passes(question, "reading the trace", 1);
  return {.expert_bytes = passes.header().expert_bytes() > 0, .compute = passes.header().has_times};
}

TraceAnalysis analyse_trace(const TraceQuestion& question, double cache_share, double disk_gb_per_s) {
  TracePasses passes(question, "reading the trace", 2);
  const TraceHeader& header = passes.header();
  uint64_t n_seen = 0;
  const auto in_second_half = [&](const TraceStep& step) {
    if (step.decode) n_seen += static_cast<uint64_t>(step.n_rows);
    return n_seen * 2 > passes.end().n_decoded;
  };
  UseOfExperts use(header);
  std::vector<std::unique_ptr<Predictor>> predictors = all_predictors(header);
  const TraceTiming timing = learn_timing(question, passes, [&](const TraceStep& step) {
    use.note(step);
    if (in_second_half(step) || !step.decode) return;
    for (const auto& predictor : predictors) predictor->learn(step);
  });
  TraceAnalysis a;
  a.summary = summarise(question, passes, timing);
  a.disk_gb_per_s = disk_gb_per_s > 0 ? disk_gb_per_s : timing.disk_gb_per_s;

  WhatIf setting;
  const bool recorded = cache_share < 0 && !header.classes.empty() && !header.holds_all();
  if (!recorded) setting.cache_share = cache_share > 0 ? cache_share : kUsualShare;
  const std::vector<SlotClass> classes = slots_of(header, setting, timing.expert_bytes);
  a.cache_share = share_of(header, classes, recorded ? timing.out_of_use : 0);

  PredictorTrials trials(header, timing, classes, recorded ? GivenBack::as_recorded : GivenBack::none, a.disk_gb_per_s,
                         std::move(predictors));
  n_seen = 0;
  passes.pass([&](const TraceStep& step, const TraceStep*) { trials.feed(step, in_second_half(step)); });
  a.layers = use.layers();
  a.all = mean_of(a.layers);
  a.rates = use.rates();
  a.predictors = trials.results();
  a.hit_rate = trials.hit_rate();
  return a;
}

}  // namespace flashmoe
