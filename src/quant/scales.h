// Scales that a format keeps apart from its quants, in matrices of their own, and a row of weights with all that
// decodes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/bf16.h"
#include "quant/f16.h"

namespace flashmoe {

enum class ScaleType : uint8_t { f32, f16, bf16, e8m0 };

// Scales [ceil((first_row + rows) / group_rows), ceil(cols / group_cols)] of a matrix [rows, cols], row after row; each
// serves group_rows x group_cols weights.
struct ScaleGrid {
  ScaleType type = ScaleType::f32;
  int32_t group_rows = 1;
  int32_t group_cols = 0;  // 0: the format has its scales in its blocks
  int32_t first_row = 0;   // which row of its group the matrix's first one is
  bool operator==(const ScaleGrid&) const = default;
};

// The columns that share a scale of a format of quants.
static constexpr bool is_group_width(int64_t group_cols) noexcept {
  return group_cols == 32 || group_cols == 64 || group_cols == 128;
}

static constexpr int64_t scale_bytes(ScaleType type) noexcept {
  return type == ScaleType::f32 ? 4 : type == ScaleType::e8m0 ? 1 : 2;
}
// Bytes of one row of scales.
static inline int64_t scale_row_bytes(const ScaleGrid& grid, int64_t cols) noexcept {
  return grid.group_cols == 0 ? 0 : (cols + grid.group_cols - 1) / grid.group_cols * scale_bytes(grid.type);
}
// Bytes of all scales of a matrix; the biases, where there are any, take as many.
static inline int64_t scale_matrix_bytes(const ScaleGrid& grid, int64_t rows, int64_t cols) noexcept {
  return (grid.first_row + rows + grid.group_rows - 1) / grid.group_rows * scale_row_bytes(grid, cols);
}

// One row of a matrix. Formats with their scales in the blocks use `data` alone.
struct PackedRow {
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;  // [ceil(cols / group_cols)], any alignment
  const std::byte* biases = nullptr;  // the same, or null where the format has none
  int32_t group_cols = 0;
  ScaleType type = ScaleType::f32;
};

// 2^(e - 127); the smallest is subnormal, 255 is infinite.
static inline float load_e8m0(const std::byte* byte) noexcept {
  const auto e = static_cast<uint32_t>(*byte);
  return std::bit_cast<float>(e == 0 ? 0x00400000u : e << 23);
}

static inline float load_scale(ScaleType type, const std::byte* scales, int64_t index) noexcept {
  float value = 0;
  switch (type) {
    case ScaleType::f32:
      std::memcpy(&value, scales + index * 4, sizeof(value));
      break;
    case ScaleType::f16:
      value = load_f16(scales + index * 2);
      break;
    case ScaleType::bf16:
      decode_bf16(scales + index * 2, 1, &value);
      break;
    case ScaleType::e8m0:
      value = load_e8m0(scales + index);
      break;
  }
  return value;
}

}  // namespace flashmoe
