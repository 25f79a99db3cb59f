// FP8 as Hugging Face stores it: E4M3 floats (bias 7, no infinities, 0x7f and 0xff are not numbers) with a scale for
// each tile of rows and columns kept apart. w = scale * value.
#pragma once

#include "quant/scales.h"

namespace flashmoe {

struct BlockFp8E4M3 {
  static constexpr int kValues = 1;
  uint8_t value;
};

// Sign and magnitude moved to where a half has them are 2^-8 of the value, subnormals included.
static inline float e4m3_to_f32(uint8_t value) noexcept {
  if ((value & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u | static_cast<uint32_t>(value & 0x80) << 24);
  return f16_to_f32(static_cast<uint16_t>((value & 0x80) << 8 | (value & 0x7f) << 7)) * 0x1p8f;
}

// Values [first, first + n) of a row.
static inline void decode_fp8_e4m3(const PackedRow& row, int64_t first, int64_t n, float* __restrict out) noexcept {
  const auto* values = reinterpret_cast<const uint8_t*>(row.data) + first;
  for (int64_t i = 0; i < n;) {
    const int64_t group = (first + i) / row.group_cols;
    const int64_t group_end = (group + 1) * row.group_cols - first;
    const int64_t end = group_end < n ? group_end : n;
    const float scale = load_scale(row.type, row.scales, group);
    for (; i < end; ++i) out[i] = scale * e4m3_to_f32(values[i]);
  }
}

}  // namespace flashmoe
