#include "model/gated_rows.h"

#include <cstring>

namespace flashmoe {
namespace {

template <typename T>
void copy_row(std::span<const T> from, int64_t from_row, std::span<T> to, int64_t to_row, int64_t width) {
  std::memcpy(to.data() + to_row * width, from.data() + from_row * width, static_cast<size_t>(width) * sizeof(T));
}

// Puts rows of x side by side, in the forms that `to` has.
void gather(const ActivationBuffer& x, const int32_t* row_of, int64_t n, ActivationBuffer& to) {
  const int64_t blocks = x.cols / kActivationBlock;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = row_of[i];
    if (!to.f32.empty()) copy_row<float>(x.f32, row, to.f32, i, x.cols);
    if (to.q8.empty()) continue;
    copy_row<int8_t>(x.q8, row, to.q8, i, x.cols);
    copy_row<float>(x.scale, row, to.scale, i, blocks);
    copy_row<float>(x.sum, row, to.sum, i, blocks);
  }
}

// Rows [first, first + n) of what the task reads.
Activations rows_of(const GatedTask& task, int64_t first, int64_t n, ActivationBuffer& scratch) {
  if (task.row_of == nullptr) return task.x->rows(first, n);
  if (n == 1) return task.x->rows(task.row_of[first], 1);
  gather(*task.x, task.row_of + first, n, scratch);
  return scratch.rows(0, n);
}

// Columns [begin, end) of n rows of act, of what gate and up made, which they overwrite.
void activate(const Step& step, GatedScratch& made, int64_t n, int64_t d_ff, int64_t begin, int64_t end,
              ActivationBuffer& act, int64_t row) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = (row + i) * d_ff + begin, block = at / kActivationBlock;
    float* const gate = made.gate.data() + i * d_ff + begin;
    float* const to = act.f32.empty() ? gate : act.f32.data() + at;
    step.kernels.silu_mul(gate, made.up.data() + i * d_ff + begin, end - begin, to);
    if (act.q8.empty()) continue;
    step.kernels.quantise_activations(to, 1, end - begin, act.q8.data() + at, act.scale.data() + block,
                                      act.sum.data() + block);
  }
}

}  // namespace

// Over parts of the task's rows that are as equal as can be.
void run_gated_rows(const Step& step, const GatedTask& task, int64_t begin, int64_t end) {
  GatedScratch& scratch = step.ws.gated_scratch[static_cast<size_t>(ThreadPool::thread_index())];
  const Matmul gate = matmul_for(step.kernels, task.gate, step.exact),
               up = matmul_for(step.kernels, task.up, step.exact);
  const int64_t d_ff = task.gate.rows, n_parts = (task.n + scratch.rows - 1) / scratch.rows;
  for (int64_t part = 0; part < n_parts; ++part) {
    const int64_t first = task.n * part / n_parts, n = task.n * (part + 1) / n_parts - first;
    const Activations x = rows_of(task, first, n, scratch.x);
    gate(task.gate, x, scratch.gate.data(), d_ff, begin, end);
    up(task.up, x, scratch.up.data(), d_ff, begin, end);
    activate(step, scratch, n, d_ff, begin, end, *task.act, task.first + first);
  }
}

}  // namespace flashmoe
