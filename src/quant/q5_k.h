// Q5_K: Q4_K with a fifth bit: bit g of high[j] belongs to value j of group g. w = (d * scale) * q - dmin * min.
#pragma once

#include "quant/q4_k.h"

namespace flashmoe {

struct BlockQ5_K {
  static constexpr int kValues = 256;
  uint8_t d[2];        // f16
  uint8_t dmin[2];     // f16
  uint8_t scales[12];  // see unpack_scales_k
  uint8_t high[32];
  uint8_t q[128];  // low nibbles, ordered as in Q4_K
};
static_assert(sizeof(BlockQ5_K) == 176 && alignof(BlockQ5_K) == 1);

static inline void decode_q5_k(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ5_K*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ5_K::kValues, ++block) {
    const float d = load_f16(block->d), dmin = load_f16(block->dmin);
    uint8_t scales[8], mins[8];
    unpack_scales_k(block->scales, scales, mins);
    for (int group = 0; group < 8; ++group) {
      const float scale = d * static_cast<float>(scales[group]), min = dmin * static_cast<float>(mins[group]);
      const uint8_t* q = block->q + group / 2 * 32;
      const int shift = group % 2 * 4;
      float* __restrict to = out + i + group * 32;
      for (int j = 0; j < 32; ++j) {
        const int value = (q[j] >> shift & 15) | (block->high[j] >> group & 1) << 4;
        to[j] = scale * static_cast<float>(value) - min;
      }
    }
  }
}

}  // namespace flashmoe
