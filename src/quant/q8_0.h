// Q8_0: 32 signed bytes and one scale. w = q * d.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ8_0 {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  int8_t q[32];
};
static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 1);

static inline void decode_q8_0(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ8_0*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ8_0::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int j = 0; j < 32; ++j) out[i + j] = static_cast<float>(block->q[j]) * d;
  }
}

}  // namespace flashmoe
