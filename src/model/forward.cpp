#include "model/forward.h"

#include <algorithm>

#include "base/check.h"
#include "model/stages/attention.h"
#include "model/stages/embed.h"
#include "model/stages/logits.h"
#include "model/stages/norm.h"

namespace flashmoe {

Forward::Forward(const Family& family, const KernelTable& kernels, ThreadPool& pool, ExpertSource& experts,
                 Workspace& ws, bool exact)
    : family_(family), step_{family.config(), kernels, pool, experts, ws, profile_, nullptr, exact, {}} {
  const auto most = static_cast<size_t>(max_rows());
  step_.pieces.reserve(most);
  step_.wanted.rows.reserve(most);
  step_.wanted.tokens.reserve(most);
  step_.wanted.runs.reserve(most);
}

void Forward::cut_into_blocks(const Batch& batch) {
  step_.pieces.clear();
  for (const Run& run : batch.runs) {
    auto ids = batch.tokens.subspan(static_cast<size_t>(run.first_row), static_cast<size_t>(run.n_rows));
    DeltaPiece piece = {run.first_row, 0, run.sequence->n_in_block(), false};
    while (!ids.empty()) {
      const auto rest = blocks_.rest_of_block(ids, piece.n_before);
      piece.n_rows = rest.value_or(static_cast<int64_t>(ids.size()));
      piece.ends = rest.has_value();
      step_.pieces.push_back(piece);
      ids = ids.subspan(static_cast<size_t>(piece.n_rows));
      piece = {piece.first_row + piece.n_rows, 0, 0, false};
    }
  }
}

void Forward::list_wanted_rows(const Batch& batch) {
  const bool all = step_.observer != nullptr && step_.observer->wants_all_rows();
  step_.wanted.rows.clear();
  for (const Run& run : batch.runs) {
    for (int64_t i = all ? 0 : run.first_wanted; i < run.n_rows; ++i) {
      step_.wanted.rows.push_back(static_cast<int32_t>(run.first_row + i));
    }
  }
}

void Forward::step(std::span<const int32_t> tokens, Sequence& sequence, int64_t first_wanted) {
  const Run run{&sequence, 0, static_cast<int64_t>(tokens.size()), sequence.n_tokens(), {}, first_wanted};
  step(Batch{tokens, {&run, 1}});
}

void Forward::step(const Batch& batch) {
  CHECK(batch.n() >= 1 && batch.n() <= max_rows());
  const auto observe = [&](int index, std::span<const float> x) {
    const auto n_values = static_cast<size_t>(step_.n() * config().d_model);
    if (step_.observer != nullptr) step_.observer->hidden(index, x.first(n_values));
  };
  for (const Run& run : batch.runs) run.sequence->kv().reserve_positions(run.first_position + run.n_rows);
  step_.ws.fit(batch.n());
  step_.experts.begin_step();
  step_.batch = batch;
  cut_into_blocks(batch);
  list_wanted_rows(batch);
  if (step_.observer != nullptr) step_.observer->began(batch);
  profile_.kind = LayerKind::model;
  prepare_rope(step_);

  embed(step_, family_.embedding(), embedding_rows_.get());
  observe(0, step_.ws.x);
  for (int layer = 0; layer < config().n_layers; ++layer) {
    if (before_layer_) before_layer_(layer);
    family_.forward_layer(layer, step_);
    if (layer + 1 < config().n_layers) observe(layer + 1, step_.ws.x);
  }
  profile_.kind = LayerKind::model;
  norm(step_, Stage::logits, family_.final_norm());
  observe(config().n_layers, step_.ws.h.f32);

  for (const DeltaPiece& piece : step_.pieces) {
    const Run& run = *std::find_if(batch.runs.begin(), batch.runs.end(),
                                   [&](const Run& r) { return piece.first_row < r.first_row + r.n_rows; });
    const int64_t n = run.first_position + piece.first_row - run.first_row + piece.n_rows;
    run.sequence->set_n_tokens(n, piece.ends ? 0 : piece.n_before + piece.n_rows);
  }
  step_.batch = {};  // the caller's arrays are his again
}

std::span<const float> Forward::logits(int64_t first_row, int64_t n_rows) {
  const auto& rows = step_.wanted.rows;
  const auto first = std::lower_bound(rows.begin(), rows.end(), first_row);
  CHECK(n_rows >= 1 && rows.end() - first >= n_rows);
  CHECK(*first == first_row && first[n_rows - 1] == first_row + n_rows - 1);
  return flashmoe::logits(step_, family_.lm_head(), first - rows.begin(), n_rows);
}

}  // namespace flashmoe
