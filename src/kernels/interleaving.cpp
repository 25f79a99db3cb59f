#include "kernels/interleaving.h"

#include <cstring>

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr int64_t kParts = 16;       // of a matrix, each for any thread
constexpr int64_t kLeastGroup = 32;  // columns that share a scale (is_group_width)

// Scales [16 rows, n] become [n, 16 rows], in place.
template <typename Scale>
void transpose(std::byte* scales, int64_t n) {
  constexpr auto kBytes = static_cast<int64_t>(sizeof(Scale));
  std::byte copy[kInterleavedRows * kMostInterleavedCols / kLeastGroup * kBytes];
  std::memcpy(copy, scales, static_cast<size_t>(kInterleavedRows * n * kBytes));
  for (int64_t r = 0; r < kInterleavedRows; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(scales + (i * kInterleavedRows + r) * kBytes, copy + (r * n + i) * kBytes, sizeof(Scale));
    }
  }
}

// Those of groups of rows [first, first + n_groups) of a matrix.
void interleave_scales(const MatrixView& w, std::byte* scales, int64_t first, int64_t n_groups) {
  if (scales == nullptr) return;
  const int64_t row_bytes = scale_row_bytes(w.grid, w.cols), n = w.cols / w.grid.group_cols;
  for (int64_t group = first; group < first + n_groups; ++group) {
    std::byte* const at = scales + group * kInterleavedRows * row_bytes;
    switch (scale_bytes(w.grid.type)) {
      case 1:
        transpose<uint8_t>(at, n);
        break;
      case 2:
        transpose<uint16_t>(at, n);
        break;
      default:
        transpose<uint32_t>(at, n);
    }
  }
}

}  // namespace

bool can_interleave(const KernelTable& table, const MatrixView& w) {
  return table.interleave[static_cast<size_t>(w.format)] != nullptr && w.rows % kInterleavedRows == 0 &&
         w.cols % 256 == 0 && w.cols <= kMostInterleavedCols;
}

Interleaving interleaving_in(std::byte* memory, MatrixView& w) {
  const auto there = [memory](const std::byte* p) { return p == nullptr ? nullptr : memory + (p - memory); };
  return {&w, there(w.data), there(w.scales), there(w.biases)};
}

void interleave(const KernelTable& table, std::span<const Interleaving> matrices, ThreadPool& pool) {
  pool.parallel_for(static_cast<int64_t>(matrices.size()) * kParts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [w, data, scales, biases] = matrices[static_cast<size_t>(i / kParts)];
      CHECK(!w->interleaved);
      if (!can_interleave(table, *w)) continue;
      const int64_t n_groups = w->rows / kInterleavedRows, part = i % kParts;
      const int64_t first = n_groups * part / kParts, n = n_groups * (part + 1) / kParts - first;
      if (n == 0) continue;
      table.interleave[static_cast<size_t>(w->format)](data + first * kInterleavedRows * w->row_bytes(),
                                                       n * kInterleavedRows, w->cols);
      interleave_scales(*w, scales, first, n);
      interleave_scales(*w, biases, first, n);
    }
  });
  for (const Interleaving& matrix : matrices) matrix.w->interleaved = can_interleave(table, *matrix.w);
}

}  // namespace flashmoe
