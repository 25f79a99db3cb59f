// Q4_0: 32 nibbles and one scale. w = d * (q - 8). Byte j holds value j in its low and value j + 16 in its high nibble.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ4_0 {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  uint8_t q[16];
};
static_assert(sizeof(BlockQ4_0) == 18 && alignof(BlockQ4_0) == 1);

static inline void decode_q4_0(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ4_0*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ4_0::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int j = 0; j < 16; ++j) out[i + j] = d * static_cast<float>((block->q[j] & 15) - 8);
    for (int j = 0; j < 16; ++j) out[i + j + 16] = d * static_cast<float>((block->q[j] >> 4) - 8);
  }
}

}  // namespace flashmoe
