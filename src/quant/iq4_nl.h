// IQ4_NL: 32 nibbles and one scale; a nibble is the index of one of 16 levels. w = d * level. Nibbles are ordered as in
// Q4_0.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ4_NL {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  uint8_t q[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18 && alignof(BlockIQ4_NL) == 1);

inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static inline void decode_iq4_nl(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ4_NL*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ4_NL::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int j = 0; j < 16; ++j) {
      out[i + j] = d * static_cast<float>(kIq4Levels[block->q[j] & 15]);
      out[i + j + 16] = d * static_cast<float>(kIq4Levels[block->q[j] >> 4]);
    }
  }
}

}  // namespace flashmoe
