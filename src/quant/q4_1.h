// Q4_1: 32 nibbles, one scale and one minimum. w = d * q + m. Nibbles are ordered as in Q4_0.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ4_1 {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  uint8_t m[2];  // f16
  uint8_t q[16];
};
static_assert(sizeof(BlockQ4_1) == 20 && alignof(BlockQ4_1) == 1);

static inline void decode_q4_1(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ4_1*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ4_1::kValues, ++block) {
    const float d = load_f16(block->d), m = load_f16(block->m);
    for (int j = 0; j < 16; ++j) out[i + j] = d * static_cast<float>(block->q[j] & 15) + m;
    for (int j = 0; j < 16; ++j) out[i + j + 16] = d * static_cast<float>(block->q[j] >> 4) + m;
  }
}

}  // namespace flashmoe
