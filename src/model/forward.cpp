#include "model/forward.h"

#include "base/check.h"
#include "model/stages/attention.h"
#include "model/stages/embed.h"
#include "model/stages/logits.h"
#include "model/stages/norm.h"

namespace flashmoe {

Forward::Forward(const Family& family, const KernelTable& kernels, ThreadPool& pool, ExpertSource& experts,
                 Workspace& ws, bool exact)
    : family_(family), step_{family.config(), kernels, pool, experts, ws, profile_, nullptr, exact, {}} {}

void Forward::step(std::span<const int32_t> tokens, Sequence& sequence) {
  const Run run{&sequence, 0, static_cast<int64_t>(tokens.size()), sequence.n_tokens()};
  step(Batch{tokens, {&run, 1}});
}

void Forward::step(const Batch& batch) {
  CHECK(batch.n() >= 1 && batch.n() <= max_rows());
  const auto n_values = static_cast<size_t>(batch.n() * config().d_model);
  const auto observe = [&](int index, std::span<const float> x) {
    if (step_.observer != nullptr) step_.observer->hidden(index, x.first(n_values));
  };
  for (const Run& run : batch.runs) run.sequence->kv().reserve_positions(run.first_position + run.n_rows);
  step_.experts.begin_step();
  step_.batch = batch;
  if (step_.observer != nullptr) step_.observer->began(batch);
  profile_.kind = LayerKind::model;
  prepare_rope(step_);

  embed(step_, family_.embedding());
  observe(0, step_.ws.x);
  for (int layer = 0; layer < config().n_layers; ++layer) {
    if (before_layer_) before_layer_(layer);
    family_.forward_layer(layer, step_);
    if (layer + 1 < config().n_layers) observe(layer + 1, step_.ws.x);
  }
  profile_.kind = LayerKind::model;
  norm(step_, Stage::logits, family_.final_norm());
  observe(config().n_layers, step_.ws.h.f32);

  for (const Run& run : batch.runs) run.sequence->set_n_tokens(run.first_position + run.n_rows);
  step_.batch = {};  // the caller's arrays are his again
}

std::span<const float> Forward::logits(int64_t first_row, int64_t n_rows) {
  return flashmoe::logits(step_, family_.lm_head(), first_row, n_rows);
}

}  // namespace flashmoe
