#include "kernels/interleaving.h"

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr int64_t kParts = 16;  // of a matrix, each for any thread

}  // namespace

bool can_interleave(const KernelTable& table, const MatrixView& w) {
  return table.interleave[static_cast<size_t>(w.format)] != nullptr && w.rows % kInterleavedRows == 0 &&
         w.cols % 256 == 0 && w.cols <= kMostInterleavedCols;
}

void interleave(const KernelTable& table, std::span<const Interleaving> matrices, ThreadPool& pool) {
  pool.parallel_for(static_cast<int64_t>(matrices.size()) * kParts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [w, data] = matrices[static_cast<size_t>(i / kParts)];
      CHECK(!w->interleaved);
      if (!can_interleave(table, *w)) continue;
      const int64_t n_groups = w->rows / kInterleavedRows, part = i % kParts;
      const int64_t first = n_groups * part / kParts, n = n_groups * (part + 1) / kParts - first;
      if (n == 0) continue;
      table.interleave[static_cast<size_t>(w->format)](data + first * kInterleavedRows * w->row_bytes(),
                                                       n * kInterleavedRows, w->cols);
    }
  });
  for (const Interleaving& matrix : matrices) matrix.w->interleaved = can_interleave(table, *matrix.w);
}

}  // namespace flashmoe
