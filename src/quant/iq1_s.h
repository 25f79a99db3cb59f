// IQ1_S: 256 values in 8 groups of 32. Each 8 values have a codebook entry of eleven bits; a group's little-endian word
// has the upper three bits of its four entries, a 3-bit scale at bit 12, and on top which way the values are moved.
// w = d * (2 scale + 1) * (entry +- 1/8).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ1_S {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t q[32];
  uint8_t words[8][2];
};
static_assert(sizeof(BlockIQ1_S) == 50 && alignof(BlockIQ1_S) == 1);

// out[j] = scale * (entry[j] + shift), the entry in eighths as kIq1Grid has it.
static inline void decode_iq1_entry(uint64_t entry, int shift, float scale, float* __restrict out) noexcept {
  for (int j = 0; j < 8; ++j) {
    out[j] = scale * static_cast<float>(static_cast<int8_t>(entry >> 8 * j & 255) + shift);
  }
}

static inline void decode_iq1_s(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ1_S*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ1_S::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 8; ++group) {
      const uint32_t word = load_u16(block->words[group]);
      const float scale = d * 0.125f * static_cast<float>(2 * (word >> 12 & 7) + 1);
      for (int k = 0; k < 4; ++k) {
        const uint32_t entry = block->q[group * 4 + k] | (word >> 3 * k & 7) << 8;
        decode_iq1_entry(kIq1Grid.entries[entry], word >> 15 != 0 ? -1 : 1, scale, out + i + group * 32 + k * 8);
      }
    }
  }
}

}  // namespace flashmoe
