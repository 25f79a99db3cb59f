// IQ2_S: 256 values in 16 groups of 16, each with a 4-bit scale. Each 8 values have a codebook entry of ten bits, the
// upper two of entry k at bit 2 (k % 4) of high[k / 4], and a byte of sign bits. w = d * (scale + 1/2) / 4 * (+-entry).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ2_S {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t q[32];
  uint8_t signs[32];
  uint8_t high[8];
  uint8_t scales[8];  // of two groups, the first in the low nibble
};
static_assert(sizeof(BlockIQ2_S) == 82 && alignof(BlockIQ2_S) == 1);

static inline void decode_iq2_s(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ2_S*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ2_S::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 16; ++group) {
      const int step = block->scales[group / 2] >> group % 2 * 4 & 15;
      const float scale = d * (0.5f + static_cast<float>(step)) * 0.25f;
      for (int k = group * 2; k < group * 2 + 2; ++k) {
        const int entry = block->q[k] | (block->high[k / 4] >> k % 4 * 2 & 3) << 8;
        decode_entry(kIq2SGrid.entries[entry], block->signs[k], scale, out + i + k * 8);
      }
    }
  }
}

}  // namespace flashmoe
