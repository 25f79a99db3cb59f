#include "model/matmul.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace flashmoe {
namespace {

// Multiply-adds below which handing a piece to another thread costs more than it saves: about 2 us of work.
constexpr int64_t kPieceCost = 64 * 1024;
constexpr int64_t kPiecesPerThread = 8;

int64_t n_rows(const MatmulTask& task) { return task.w.rows; }
int64_t n_rows(const GatedTask& task) { return task.gate.rows; }
int64_t row_step(const MatmulTask& /*task*/) { return kMatmulTileRows; }
int64_t row_step(const GatedTask& /*task*/) { return kActivationGroup; }  // whole groups of what is made
int64_t row_cost(const MatmulTask& task) { return task.w.cols * task.x.n; }
int64_t row_cost(const GatedTask& task) { return 2 * task.gate.cols * task.x.n; }

template <typename Task>
int64_t piece_rows(const Task& task, int64_t piece_cost) {
  const int64_t rows = std::max<int64_t>(1, piece_cost / std::max<int64_t>(1, row_cost(task))), step = row_step(task);
  return (rows + step - 1) / step * step;
}

Matmul kernel_for(const Step& step, const MatrixView& w, bool exact) {
  return matmul_for(step.kernels, w, exact || step.exact);
}

void run_rows(const Step& step, const MatmulTask& task, int64_t begin, int64_t end) {
  kernel_for(step, task.w, task.exact)(task.w, task.x, task.y, task.y_stride, begin, end);
}

// Rows of gate and up that are whole groups of the activation they make.
void run_rows(const Step& step, const GatedTask& task, int64_t begin, int64_t end) {
  const int64_t d_ff = task.gate.rows;
  kernel_for(step, task.gate, false)(task.gate, task.x, task.gate_y, d_ff, begin, end);
  kernel_for(step, task.up, false)(task.up, task.x, task.up_y, d_ff, begin, end);
  ActivationBuffer& act = *task.act;
  for (int64_t i = 0; i < task.x.n; ++i) {
    float* to = act.f32.data() + (task.first + i) * d_ff + begin;
    step.kernels.silu_mul(task.gate_y + i * d_ff + begin, task.up_y + i * d_ff + begin, end - begin, to);
    if (act.q8.empty()) continue;
    const int64_t at = (task.first + i) * d_ff + begin, block = at / kActivationBlock;
    step.kernels.quantise_activations(to, 1, end - begin, act.q8.data() + at, act.scale.data() + block,
                                      act.sum.data() + block);
  }
}

template <typename Task>
void run_piece(const Step& step, const Task& task, int64_t piece, int64_t piece_cost) {
  const int64_t rows = piece_rows(task, piece_cost), first = piece * rows;
  run_rows(step, task, first, std::min(n_rows(task), first + rows));
}

template <typename Task>
int64_t total_cost(std::span<const Task> tasks) {
  int64_t total = 0;
  for (const Task& task : tasks) total += n_rows(task) * row_cost(task);
  return total;
}

// Appends to `ends` where each task's pieces end, counted from `n_before`; returns their number in all.
template <typename Task>
int64_t count_pieces(std::span<const Task> tasks, int64_t piece_cost, int64_t n_before, std::span<int64_t> ends) {
  for (size_t i = 0; i < tasks.size(); ++i) {
    const int64_t rows = piece_rows(tasks[i], piece_cost);
    n_before += (n_rows(tasks[i]) + rows - 1) / rows;
    ends[i] = n_before;
  }
  return n_before;
}

void observe(Observer& observer, std::span<const MatmulTask> tasks, std::span<const GatedTask> gated) {
  for (const MatmulTask& task : tasks) observer.multiplied(task.w, task.x);
  for (const GatedTask& task : gated) {
    observer.multiplied(task.gate, task.x);
    observer.multiplied(task.up, task.x);
  }
}

}  // namespace

int64_t grain_for(int64_t row_cost) { return std::max<int64_t>(1, kPieceCost / std::max<int64_t>(1, row_cost)); }

void matmul(Step& step, std::span<const MatmulTask> tasks, std::span<const GatedTask> gated) {
  CHECK(tasks.size() + gated.size() <= step.ws.piece_ends.size());
  if (step.observer != nullptr) observe(*step.observer, tasks, gated);
  const auto ends = step.ws.piece_ends.first(tasks.size() + gated.size());
  const int64_t cost = total_cost(tasks) + total_cost(gated);
  const int64_t piece_cost = std::max(kPieceCost, cost / (step.pool.size() * kPiecesPerThread));
  const int64_t n_gated = count_pieces(gated, piece_cost, 0, ends);
  const int64_t n_pieces = count_pieces(tasks, piece_cost, n_gated, ends.subspan(gated.size()));
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const auto i = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), piece) - ends.begin());
      const int64_t of_task = piece - (i == 0 ? 0 : ends[i - 1]);
      if (i < gated.size()) {
        run_piece(step, gated[i], of_task, piece_cost);
      } else {
        run_piece(step, tasks[i - gated.size()], of_task, piece_cost);
      }
    }
  };
  // Small steps are done sooner than another thread wakes up.
  step.pool.parallel_for(n_pieces, cost <= kPieceCost ? n_pieces : 1, run);
  step.experts.keep_reading();
}

void quantise(Step& step, ActivationBuffer& x, int64_t first, int64_t n) {
  if (x.q8.empty()) return;
  const int64_t cols = x.cols, blocks = cols / kActivationBlock;
  step.pool.parallel_for(n, grain_for(cols * 4), [&](int64_t begin, int64_t end) {
    const int64_t row = first + begin;
    step.kernels.quantise_activations(x.f32.data() + row * cols, end - begin, cols, x.q8.data() + row * cols,
                                      x.scale.data() + row * blocks, x.sum.data() + row * blocks);
  });
}

void add_rows(Step& step, const float* x, int64_t n, int64_t d, float* y) {
  step.pool.parallel_for(n, grain_for(d), [&](int64_t begin, int64_t end) {
    step.kernels.add_scaled(x + begin * d, 1.0F, (end - begin) * d, y + begin * d);
  });
}

}  // namespace flashmoe
