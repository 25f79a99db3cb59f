#include "model/matmul.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace flashmoe {
namespace {

// Multiply-adds below which handing a piece to another thread costs more than it saves: about 2 us of work.
constexpr int64_t kPieceCost = 64 * 1024;
constexpr int64_t kPiecesPerThread = 8;
constexpr int64_t kRowStep = 8;  // pieces are whole tiles of the kernels

int64_t row_cost(const MatmulTask& task) { return task.w.cols * task.x.n; }

int64_t piece_rows(const MatmulTask& task, int64_t piece_cost) {
  const int64_t rows = std::max<int64_t>(1, piece_cost / std::max<int64_t>(1, row_cost(task)));
  return (rows + kRowStep - 1) / kRowStep * kRowStep;
}

Matmul kernel_for(const Step& step, const MatmulTask& task) {
  const auto format = static_cast<size_t>(task.w.format);
  const bool exact = step.exact || task.exact || format_info(task.w.format).is_float;
  return exact ? step.kernels.matmul_exact[format] : step.kernels.matmul_fast[format];
}

}  // namespace

int64_t grain_for(int64_t row_cost) { return std::max<int64_t>(1, kPieceCost / std::max<int64_t>(1, row_cost)); }

void matmul(Step& step, std::span<const MatmulTask> tasks) {
  CHECK(tasks.size() <= step.ws.piece_ends.size());
  int64_t total_cost = 0;
  for (const MatmulTask& task : tasks) total_cost += task.w.rows * row_cost(task);
  const int64_t piece_cost = std::max(kPieceCost, total_cost / (step.pool.size() * kPiecesPerThread));
  int64_t n_pieces = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const int64_t rows = piece_rows(tasks[i], piece_cost);
    n_pieces += (tasks[i].w.rows + rows - 1) / rows;
    step.ws.piece_ends[i] = n_pieces;
  }
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const auto ends = step.ws.piece_ends.first(tasks.size());
      const auto i = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), piece) - ends.begin());
      const MatmulTask& task = tasks[i];
      const int64_t rows = piece_rows(task, piece_cost);
      const int64_t first = (piece - (i == 0 ? 0 : ends[i - 1])) * rows;
      kernel_for(step, task)(task.w, task.x, task.y, task.y_stride, first, std::min(task.w.rows, first + rows));
    }
  };
  // Small steps are done sooner than another thread wakes up.
  step.pool.parallel_for(n_pieces, total_cost <= kPieceCost ? n_pieces : 1, run);
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
