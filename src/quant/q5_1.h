// Q5_1: Q4_1 with a fifth bit, stored as in Q5_0. w = d * q + m.
#pragma once

#include "quant/q5_0.h"

namespace flashmoe {

struct BlockQ5_1 {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  uint8_t m[2];  // f16
  uint8_t high[4];
  uint8_t q[16];  // low nibbles, ordered as in Q4_0
};
static_assert(sizeof(BlockQ5_1) == 24 && alignof(BlockQ5_1) == 1);

static inline void decode_q5_1(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ5_1*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ5_1::kValues, ++block) {
    const float d = load_f16(block->d), m = load_f16(block->m);
    uint8_t values[32];
    unpack_five_bits(block->high, block->q, values);
    for (int j = 0; j < 32; ++j) out[i + j] = d * static_cast<float>(values[j]) + m;
  }
}

}  // namespace flashmoe
