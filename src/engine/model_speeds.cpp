#include "engine/model_speeds.h"

#include <algorithm>

#include "engine/forecast.h"
#include "model/delta_state.h"

namespace flashmoe {
namespace {

MatmulShape shape_of(const MatrixView& w) { return {w.rows, w.cols, w.format, w.grid}; }
MatmulShape shape_of(const ExpertMatrix& w) { return {w.rows, w.cols, w.format, w.grid}; }

enum class Logits { computed, left_out };

// Every matrix of the trunk but the embedding, of which a token reads a row.
double trunk_seconds(const BoundModel& model, MatmulProbe& probe, int64_t n_rows, Logits logits) {
  const MatrixView *embedding = &model.family->embedding(), *head = &model.family->lm_head();
  double seconds = 0;
  for (const auto& request : model.binder->matrices()) {
    if (request.target != embedding && request.target != head)
      seconds += probe.seconds(shape_of(*request.target), n_rows);
  }
  return logits == Logits::computed ? seconds + probe.seconds(shape_of(*head), n_rows) : seconds;
}

// The mean over layers; experts of a layer are of one shape.
double expert_seconds(const BoundModel& model, MatmulProbe& probe, int64_t n_rows) {
  double seconds = 0;
  for (int layer = 0; layer < model.experts.n_layers; ++layer) {
    const ExpertRecord& expert = model.experts.at(layer, 0);
    for (const ExpertMatrix* w : {&expert.gate, &expert.up, &expert.down})
      seconds += probe.seconds(shape_of(*w), n_rows);
  }
  return seconds / std::max(model.experts.n_layers, 1);
}

}  // namespace

void measure_model(const BoundModel& model, MatmulProbe& probe, int64_t prefill_rows, double kv_bytes, Speeds& speeds) {
  const double state_bytes = 2.0 * static_cast<double>(DeltaState::bytes(model.family->config()));
  speeds.trunk_s =
      trunk_seconds(model, probe, 1, Logits::computed) + (state_bytes + kv_bytes) / (speeds.roofs.ram_gb_per_s * 1e9);
  speeds.expert_s = expert_seconds(model, probe, 1);
  const ExpertTable& experts = model.experts;
  const ForecastModel table{experts.n_layers, experts.n_experts, experts.n_used, 0, 0, 0};
  const double picks = static_cast<double>(prefill_rows) * experts.n_used;
  const auto rows_each = static_cast<int64_t>(picks / distinct_experts(table, static_cast<double>(prefill_rows)) + 0.5);
  speeds.prefill_trunk_s = trunk_seconds(model, probe, prefill_rows, Logits::left_out);
  speeds.prefill_expert_s = expert_seconds(model, probe, std::max<int64_t>(rows_each, 1));
}

}  // namespace flashmoe
