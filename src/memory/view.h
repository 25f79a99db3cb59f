// Views borrow. The owner is a Buffer, a lease or an arena, and outlives the view.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "quant/format.h"

namespace flashmoe {

// Weights [rows, cols] in any format, row after row without gaps. `data` may have any alignment, and so may the scales
// of formats that keep them apart.
struct MatrixView {
  const std::byte* data = nullptr;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs; a multiple of the format's block
  Format format = Format::f32;
  ScaleGrid grid = {};                // of formats that keep their scales apart
  const std::byte* scales = nullptr;  // laid out as `grid` says
  const std::byte* biases = nullptr;  // the same; of formats that have them
  // Groups of 16 rows lie interleaved, as the kernels want them (kernels/kernels.h), and scales kept apart as
  // [cols / group_cols][16 rows]: rows cannot be taken out.
  bool interleaved = false;

  int64_t row_bytes() const { return format_bytes(format, cols); }  // without scales kept apart
  int64_t bytes() const { return rows * row_bytes() + scale_matrix_bytes(grid, rows, cols) * n_scale_matrices(format); }
  PackedRow row(int64_t r) const;
  // Values [first, first + n) of row r; both multiples of the format's block.
  void decode(int64_t r, int64_t first, int64_t n, float* out) const {
    format_info(format).decode(row(r), first, n, out);
  }
};

// Row r of a matrix whose rows take row_bytes each.
static inline PackedRow packed_row(const MatrixView& w, int64_t r, int64_t row_bytes) noexcept {
  if (w.grid.group_cols == 0) return {w.data + r * row_bytes};
  const int64_t at = (w.grid.first_row + r) / w.grid.group_rows * scale_row_bytes(w.grid, w.cols);
  return {w.data + r * row_bytes, w.scales + at, w.biases == nullptr ? nullptr : w.biases + at, w.grid.group_cols,
          w.grid.type};
}

inline PackedRow MatrixView::row(int64_t r) const {
  CHECK(!interleaved);
  return packed_row(*this, r, row_bytes());
}

}  // namespace flashmoe
