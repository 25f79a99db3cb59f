// IQ4_XS: 256 nibbles in 8 groups of 32, each with a 6-bit scale; nibbles are indices of IQ4_NL's levels.
// w = (d * (scale - 32)) * level. A group is 16 bytes, ordered as in Q4_0; its scale has the low nibble in scales_low
// (even groups in the low half) and the upper two bits at bit 2 g of the little-endian scales_high.
#pragma once

#include "quant/iq4_nl.h"

namespace flashmoe {

struct BlockIQ4_XS {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t scales_high[2];
  uint8_t scales_low[4];
  uint8_t q[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136 && alignof(BlockIQ4_XS) == 1);

static inline void decode_iq4_xs(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ4_XS*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ4_XS::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 8; ++group) {
      const int low = block->scales_low[group / 2] >> group % 2 * 4 & 15;
      const int high = block->scales_high[group / 4] >> group % 4 * 2 & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      const uint8_t* q = block->q + group * 16;
      float* __restrict to = out + i + group * 32;
      for (int j = 0; j < 16; ++j) {
        to[j] = scale * static_cast<float>(kIq4Levels[q[j] & 15]);
        to[j + 16] = scale * static_cast<float>(kIq4Levels[q[j] >> 4]);
      }
    }
  }
}

}  // namespace flashmoe
