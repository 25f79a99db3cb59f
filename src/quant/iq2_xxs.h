// IQ2_XXS: 256 values in 8 groups of 32. A group is four bytes, each the codebook entry of 8 values, and a
// little-endian word: seven sign bits for each 8 values (see even_signs), and a 4-bit scale on top.
// w = d * (scale + 1/2) / 4 * (+-entry).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ2_XXS {
  static constexpr int kValues = 256;
  uint8_t d[2];     // f16
  uint8_t q[8][8];  // by group: 4 entries, then signs and scale
};
static_assert(sizeof(BlockIQ2_XXS) == 66 && alignof(BlockIQ2_XXS) == 1);

static inline void decode_iq2_xxs(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ2_XXS*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ2_XXS::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 8; ++group) {
      const uint8_t* q = block->q[group];
      const uint32_t word = load_u32(q + 4);
      const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
      for (int k = 0; k < 4; ++k) {
        decode_entry(kIq2XxsGrid.entries[q[k]], even_signs(word >> 7 * k & 127), scale, out + i + group * 32 + k * 8);
      }
    }
  }
}

}  // namespace flashmoe
