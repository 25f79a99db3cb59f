// IQ2_XS: 256 values in 16 groups of 16, each with a 4-bit scale. Each 8 values are a little-endian word: nine bits of
// codebook entry and seven sign bits (see even_signs). w = d * (scale + 1/2) / 4 * (+-entry).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ2_XS {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t q[32][2];
  uint8_t scales[8];  // of two groups, the first in the low nibble
};
static_assert(sizeof(BlockIQ2_XS) == 74 && alignof(BlockIQ2_XS) == 1);

static inline void decode_iq2_xs(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ2_XS*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ2_XS::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 16; ++group) {
      const int step = block->scales[group / 2] >> group % 2 * 4 & 15;
      const float scale = d * (0.5f + static_cast<float>(step)) * 0.25f;
      for (int k = group * 2; k < group * 2 + 2; ++k) {
        const uint32_t word = load_u16(block->q[k]);
        decode_entry(kIq2XsGrid.entries[word & 511], even_signs(word >> 9), scale, out + i + k * 8);
      }
    }
  }
}

}  // namespace flashmoe
