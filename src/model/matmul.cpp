#include "model/matmul.h"

#include <algorithm>

#include "base/bytes.h"
#include "model/gated_rows.h"

namespace flashmoe {
namespace {

bool is_exact(const Step& step, const MatmulTask& task) { return task.exact || step.exact; }

SharedRows shared_rows(const Step& step, const MatmulTask& task) {
  const bool prepares = task.x.n > 1 && !is_exact(step, task);
  return {task.w.rows, task.w.cols * task.x.n, kMatmulTileRows, prepares ? 4 * kMatmulTileRows : kMatmulTileRows};
}

SharedRows shared_rows(const GatedTask& task) {
  return {task.gate.rows, 2 * task.gate.cols * task.n, kActivationGroup};  // whole groups of what is made
}

void run_rows(const Step& step, const MatmulTask& task, int64_t begin, int64_t end) {
  const Matmul multiply = matmul_for(step.kernels, task.w, is_exact(step, task));
  multiply(task.w, task.x, task.y, task.y_stride, begin, end);
}

void observe(Observer& observer, std::span<const MatmulTask> tasks, std::span<const GatedTask> gated) {
  for (const MatmulTask& task : tasks) observer.multiplied(task.w, task.x);
  for (const GatedTask& task : gated) {
    if (task.row_of != nullptr) continue;  // a routed expert's
    observer.multiplied(task.gate, task.x->rows(0, task.n));
    observer.multiplied(task.up, task.x->rows(0, task.n));
  }
}

}  // namespace

int64_t grain_for(int64_t row_cost) { return std::max<int64_t>(1, kPieceCost / std::max<int64_t>(1, row_cost)); }

void matmul(Step& step, std::span<const MatmulTask> tasks, std::span<const GatedTask> gated) {
  if (step.observer != nullptr) observe(*step.observer, tasks, gated);
  const auto n_gated = static_cast<int64_t>(gated.size()), n = n_gated + static_cast<int64_t>(tasks.size());
  const auto task_at = [&](int64_t i) -> const MatmulTask& { return tasks[static_cast<size_t>(i - n_gated)]; };
  const auto rows_of = [&](int64_t i) {
    return i < n_gated ? shared_rows(gated[static_cast<size_t>(i)]) : shared_rows(step, task_at(i));
  };
  const Shares shares = share_out(n, rows_of, step.pool.size(), step.ws.pieces);
  const auto n_pieces = static_cast<int64_t>(shares.pieces.size());
  // Small steps are done sooner than another thread wakes up.
  step.pool.parallel_for(n_pieces, shares.cost <= kPieceCost ? n_pieces : 1, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      const Piece& piece = shares.pieces[static_cast<size_t>(i)];
      if (piece.matmul < n_gated) {
        run_gated_rows(step, gated[static_cast<size_t>(piece.matmul)], piece.begin, piece.end);
      } else {
        run_rows(step, task_at(piece.matmul), piece.begin, piece.end);
      }
    }
  });
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
