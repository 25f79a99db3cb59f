// MXFP4 with its exponents kept apart, as MLX stores it: E2M1 floats one after the other, low nibble first, and an E8M0
// exponent for each 32 of them. w = 2^(e - 127) * level / 2, the levels being those of mxfp4.h.
#pragma once

#include "quant/mxfp4.h"
#include "quant/scales.h"

namespace flashmoe {

struct BlockMXFP4Split {
  static constexpr int kValues = 32;
  uint8_t q[16];
};

// Values [first, first + n) of a row; both multiples of 32.
static inline void decode_mxfp4_split(const PackedRow& row, int64_t first, int64_t n, float* __restrict out) noexcept {
  const auto* q = reinterpret_cast<const uint8_t*>(row.data) + first / 2;
  for (int64_t i = 0; i < n; i += 32, q += 16) {
    const float d = half_e8m0(static_cast<uint8_t>(row.scales[(first + i) / row.group_cols]));
    for (int j = 0; j < 16; ++j) {
      out[i + 2 * j] = d * static_cast<float>(kMxfp4Levels[q[j] & 15]);
      out[i + 2 * j + 1] = d * static_cast<float>(kMxfp4Levels[q[j] >> 4]);
    }
  }
}

}  // namespace flashmoe
