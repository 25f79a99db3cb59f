// IQ1_M: 256 values in 16 groups of 16, each with a 3-bit scale. Each 8 values have a codebook entry of eleven bits and
// a nibble of `high`: the entry's upper three bits, and on top which way the values are moved.
// w = d * (2 scale + 1) * (entry +- 1/8). There is no field for d: its four nibbles, the lowest first, are on top of
// the four little-endian words of scales.
#pragma once

#include "quant/iq1_s.h"

namespace flashmoe {

struct BlockIQ1_M {
  static constexpr int kValues = 256;
  uint8_t q[32];
  uint8_t high[16];
  uint8_t scales[4][2];  // of four groups, 3 bits each
};
static_assert(sizeof(BlockIQ1_M) == 56 && alignof(BlockIQ1_M) == 1);

static inline uint16_t iq1_m_scale(const uint8_t scales[4][2]) noexcept {
  uint32_t half = 0;
  for (int k = 0; k < 4; ++k) half |= static_cast<uint32_t>(scales[k][1] >> 4) << 4 * k;
  return static_cast<uint16_t>(half);
}

static inline void decode_iq1_m(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ1_M*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ1_M::kValues, ++block) {
    const float d = f16_to_f32(iq1_m_scale(block->scales));
    for (int group = 0; group < 16; ++group) {
      const int step = load_u16(block->scales[group / 4]) >> group % 4 * 3 & 7;
      const float scale = d * 0.125f * static_cast<float>(2 * step + 1);
      for (int k = group * 2; k < group * 2 + 2; ++k) {
        const uint32_t nibble = static_cast<uint32_t>(block->high[k / 2] >> k % 2 * 4 & 15);
        const uint32_t entry = block->q[k] | (nibble & 7) << 8;
        decode_iq1_entry(kIq1Grid.entries[entry], nibble >> 3 != 0 ? -1 : 1, scale, out + i + k * 8);
      }
    }
  }
}

}  // namespace flashmoe
