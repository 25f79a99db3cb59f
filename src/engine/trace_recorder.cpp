#include "engine/trace_recorder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "flashmoe/machine.h"
#include "flashmoe/version.h"

namespace flashmoe {
namespace {

constexpr float kScoreSteps = 8;  // of a logit's unit

// The format of most of the experts' bytes.
std::string main_format(const ExpertTable& table) {
  std::map<std::string, uint64_t> bytes;
  for (const ExpertRecord& record : table.records) {
    for (const ExpertMatrix* matrix : record.matrices()) bytes[format_info(matrix->format).name] += matrix->bytes();
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "" : most->first;
}

double values_per_expert(const ExpertTable& table) {
  double values = 0;
  for (const ExpertRecord& record : table.records) {
    for (const ExpertMatrix* matrix : record.matrices()) {
      values += static_cast<double>(matrix->rows) * static_cast<double>(matrix->cols);
    }
  }
  return values / std::max(1.0, static_cast<double>(table.records.size()));
}

uint64_t since(uint64_t before, uint64_t now) { return now > before ? now - before : 0; }  // a session may start anew

}  // namespace

TraceHeader trace_header(const TracedRun& run, const ExpertSource& experts, const TraceOptions& options) {
  const ExpertTable& table = run.model.experts;
  TraceHeader h;
  h.model = std::filesystem::path(run.report.files.front()).filename().string();
  h.version = kVersion;
  h.n_layers = table.n_layers;
  h.n_experts = table.n_experts;
  h.n_used = table.n_used;
  h.has_outcomes = h.has_times = h.has_weights = h.has_sequences = h.has_unasked = h.has_beside = true;
  h.has_given_back = !experts.slots_given_back().empty();
  h.has_guesses = options.guesses;
  h.has_scores = options.scores;
  h.classes = slot_classes(table, run.alignment);
  const MemoryPlan& plan = run.placement.plan;
  share_out(h.classes, plan.given("expert_cache") + run.placement.lendable_bytes);
  h.cache_bytes = slots_bytes(h.classes);
  h.format = main_format(table);
  h.values_per_expert = values_per_expert(table);
  h.trunk_bytes_per_token = run.report.trunk_bytes_per_token;
  h.ram_bytes = plan.limit_bytes;
  h.n_threads = run.n_threads;
  h.kernels = run.kernels;
  h.cpu = cpu_name();
  h.io_mode = experts.io_stats().mode;
  h.rates = run.rates;
  return h;
}

TraceRecorder::TraceRecorder(const TraceOptions& options, const TraceHeader& header, const ExpertSource& experts,
                             Profile& profile)
    : header_(header),
      experts_(experts),
      profile_(profile),
      writer_(options.path, header, options.most_bytes),
      begin_ns_(now_ns()) {
  step_.layers.resize(static_cast<size_t>(header.n_layers));
  count_.assign(static_cast<size_t>(header.n_experts), 0);
}

TraceRecorder::Times TraceRecorder::times() const {
  Times sum{};
  for (const auto& kind : profile_.times.ns) {
    for (size_t stage = 0; stage < sum.size(); ++stage) sum[stage] += kind[stage];
  }
  return sum;
}

// Logits are computed after the step itself, so it is written when the next one begins.
void TraceRecorder::write_step() {
  if (!complete_) return;
  complete_ = false;
  const auto logits = static_cast<size_t>(Stage::logits);
  step_.logits_ns = since(before_[logits], times()[logits]);
  if (failure_ != nullptr) return;
  try {
    writer_.write(step_);
  } catch (const Error&) {
    failure_ = std::current_exception();
  }
}

void TraceRecorder::note_runs(const Batch& batch) {
  step_.runs.clear();
  for (const Run& run : batch.runs) {
    auto known = std::find_if(followed_.begin(), followed_.end(),
                              [&](const Followed& followed) { return followed.sequence == run.sequence; });
    if (known == followed_.end()) known = followed_.insert(known, {run.sequence, -1, 0});
    if (known->next_position != run.first_position) known->number = n_sequences_++;
    known->next_position = run.first_position + run.n_rows;
    step_.runs.push_back({known->number, static_cast<int>(run.n_rows)});
  }
}

void TraceRecorder::began(const Batch& batch) {
  write_step();
  profile_.on = true;
  before_ = times();
  step_.n_rows = static_cast<int>(batch.n());
  step_.decode = batch.decodes();
  note_runs(batch);
  const auto given_back = experts_.slots_given_back();
  step_.given_back.assign(given_back.begin(), given_back.end());
  step_.start_ns = now_ns() - begin_ns_;
  for (TraceLayer& layer : step_.layers) {
    layer.outcomes.clear();
    layer.guesses.clear();
    layer.n_guessed = layer.n_guessed_beside = layer.n_warmed_up = 0;
  }
}

void TraceRecorder::hidden(int index, std::span<const float>) {
  const Times now = times();
  if (index == 0) {
    const auto embed = static_cast<size_t>(Stage::embed);
    step_.embed_ns = since(before_[embed], now[embed]);
  } else {
    TraceLayer& layer = step_.layers[static_cast<size_t>(index) - 1];
    for (size_t i = 0; i < layer.stage_ns.size(); ++i) {
      const auto stage = static_cast<size_t>(kStagesOfLayer[i]);
      layer.stage_ns[i] = since(before_[stage], now[stage]);
    }
  }
  const uint64_t logits_before = before_[static_cast<size_t>(Stage::logits)];
  before_ = now;
  if (index < header_.n_layers) return;
  before_[static_cast<size_t>(Stage::logits)] = logits_before;  // the last norm counts as logits
  step_.busy_ns = now_ns() - begin_ns_ - step_.start_ns;
  complete_ = true;
}

void TraceRecorder::scored(int layer, std::span<const float> logits) {
  if (!header_.has_scores) return;
  auto& scores = step_.layers[static_cast<size_t>(layer)].scores;
  scores.resize(logits.size());
  const auto n_experts = static_cast<size_t>(header_.n_experts);
  for (size_t row = 0; row < logits.size(); row += n_experts) {
    const auto of_row = logits.subspan(row, n_experts);
    const float best = *std::max_element(of_row.begin(), of_row.end());
    for (size_t e = 0; e < n_experts; ++e) {
      scores[row + e] = static_cast<uint8_t>(std::lround(std::min(255.0F, (best - of_row[e]) * kScoreSteps)));
    }
  }
}

void TraceRecorder::routed(int layer, std::span<const int32_t> experts, std::span<const float> weights) {
  TraceLayer& to = step_.layers[static_cast<size_t>(layer)];
  to.experts.assign(experts.begin(), experts.end());
  to.weights.assign(weights.begin(), weights.end());
  to.group(count_);
}

void TraceRecorder::fetched(int layer, std::span<const Outcome> outcomes) {
  TraceLayer& to = step_.layers[static_cast<size_t>(layer)];
  to.outcomes.insert(to.outcomes.end(), outcomes.begin(), outcomes.end());
  const UnaskedReads now = experts_.unasked_reads();
  to.n_warmed_up += now.warm_up - unasked_.warm_up;
  // What was read for this layer was guessed in the one before.
  if (layer > 0) step_.layers[static_cast<size_t>(layer) - 1].n_guessed += now.guessed - unasked_.guessed;
  unasked_ = now;
}

void TraceRecorder::computed(int layer) {
  step_.layers[static_cast<size_t>(layer)].n_guessed_beside = experts_.unasked_reads().guessed - unasked_.guessed;
}

void TraceRecorder::guessed(int layer, std::span<const int32_t> experts) {
  // A guess for a layer belongs to the one in which it was made.
  step_.layers[static_cast<size_t>(layer) - 1].guesses.assign(experts.begin(), experts.end());
}

TraceEnd TraceRecorder::finish() {
  write_step();
  const IoStats io = experts_.io_stats();
  TraceEnd end;
  end.cache = experts_.cache_stats();
  end.bytes_read = io.bytes_read;
  end.warm_up_bytes = io.warm_up_bytes;
  end.wasted_bytes = io.read_ahead.wasted_bytes;
  end.read_busy_ns = io.busy_ns;
  end.read_wait_ns = io.wait_ns;
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  return writer_.finish(end);
}

std::unique_ptr<TraceRecorder> start_trace(const TracedRun& run, const TraceOptions& options,
                                           const ExpertSource& experts, Forward& forward) {
  if (options.path.empty()) return nullptr;
  auto recorder =
      std::make_unique<TraceRecorder>(options, trace_header(run, experts, options), experts, forward.profile());
  forward.set_observer(recorder.get());
  return recorder;
}

}  // namespace flashmoe
