// Views borrow. The owner is a Buffer, a lease or an arena, and outlives the view.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace flashmoe {

// Weights [rows, cols] in any format, row after row without gaps. `data` may have any alignment.
struct MatrixView {
  const std::byte* data = nullptr;
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs; a multiple of the format's block
  Format format = Format::f32;

  int64_t row_bytes() const { return format_bytes(format, cols); }
  int64_t bytes() const { return rows * row_bytes(); }
  const std::byte* row(int64_t r) const { return data + r * row_bytes(); }
  MatrixView rows_from(int64_t first, int64_t n) const { return {row(first), n, cols, format}; }
};

}  // namespace flashmoe
