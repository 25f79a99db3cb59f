#include "model/stages/narrow.h"

#include <algorithm>

namespace flashmoe {
namespace {

// Moves row `from` of an array [n, width] to `to`, which is not behind it.
template <typename T>
void move_row(std::span<T> array, int64_t from, int64_t to, int64_t width) {
  if (array.empty()) return;
  std::copy_n(array.begin() + from * width, width, array.begin() + to * width);
}

void narrow_batch(Step& step) {
  auto& [rows, tokens, runs] = step.wanted;
  tokens.clear();
  runs.clear();
  for (const int32_t row : rows) tokens.push_back(step.batch.tokens[static_cast<size_t>(row)]);
  int64_t n = 0;
  for (const Run& run : step.batch.runs) {
    const int64_t n_wanted = run.n_rows - run.first_wanted;
    if (n_wanted == 0) continue;
    runs.push_back({run.sequence, n, n_wanted, run.first_position + run.first_wanted});
    n += n_wanted;
  }
  step.batch = {tokens, runs};
}

}  // namespace

void narrow(Step& step) {
  if (!step.narrows()) return;
  const int64_t d_model = step.config.d_model, half = step.config.attention.rotary_dims / 2;
  ActivationBuffer& h = step.ws.h;
  for (size_t i = 0; i < step.wanted.rows.size(); ++i) {
    const int64_t from = step.wanted.rows[i], to = static_cast<int64_t>(i);
    if (from == to) continue;
    move_row(step.ws.x, from, to, d_model);
    move_row(h.f32, from, to, d_model);
    move_row(h.q8, from, to, d_model);
    move_row(h.scale, from, to, d_model / kActivationBlock);
    move_row(h.sum, from, to, d_model / kActivationBlock);
    move_row(step.ws.rope_cos, from, to, half);
    move_row(step.ws.rope_sin, from, to, half);
  }
  const int64_t n_before = step.n();
  narrow_batch(step);
  step.experts.end_before(step.config.n_layers - 1, n_before - step.n());
}

}  // namespace flashmoe
