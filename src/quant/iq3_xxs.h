// IQ3_XXS: 256 values in 8 groups of 32. Each 4 values have a codebook entry of eight bits; each group a little-endian
// word: seven sign bits for each 8 values (see even_signs), and a 4-bit scale on top. w = d * (scale + 1/2) / 2 *
// (+-entry).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ3_XXS {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t q[64];
  uint8_t words[8][4];
};
static_assert(sizeof(BlockIQ3_XXS) == 98 && alignof(BlockIQ3_XXS) == 1);

static inline void decode_iq3_xxs(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ3_XXS*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ3_XXS::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 8; ++group) {
      const uint32_t word = load_u32(block->words[group]);
      const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
      for (int k = 0; k < 8; ++k) {
        const uint32_t signs = even_signs(word >> k / 2 * 7 & 127);
        decode_entry(kIq3XxsGrid.entries[block->q[group * 8 + k]], signs >> k % 2 * 4, scale,
                     out + i + group * 32 + k * 4);
      }
    }
  }
}

}  // namespace flashmoe
