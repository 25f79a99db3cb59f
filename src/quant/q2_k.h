// Q2_K: 256 two-bit values in 16 groups of 16, each with a 4-bit scale (low nibble) and a 4-bit minimum (high nibble).
// w = (d * scale) * q - dmin * min. Value 32 r + j of each half of 128 values is at bit 2 r of byte j of its 32 bytes.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ2_K {
  static constexpr int kValues = 256;
  uint8_t scales[16];
  uint8_t q[64];
  uint8_t d[2];     // f16
  uint8_t dmin[2];  // f16
};
static_assert(sizeof(BlockQ2_K) == 84 && alignof(BlockQ2_K) == 1);

static inline void decode_q2_k(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ2_K*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ2_K::kValues, ++block) {
    const float d = load_f16(block->d), dmin = load_f16(block->dmin);
    for (int run = 0; run < 8; ++run) {  // 32 values each
      const uint8_t* q = block->q + run / 4 * 32;
      const int shift = run % 4 * 2;
      uint8_t values[32];  // bytes first: both loops vectorise, their combination does not
      for (int j = 0; j < 32; ++j) values[j] = static_cast<uint8_t>(q[j] >> shift & 3);
      for (int part = 0; part < 2; ++part) {  // 16 values each
        const uint8_t packed = block->scales[run * 2 + part];
        const float scale = d * static_cast<float>(packed & 15), min = dmin * static_cast<float>(packed >> 4);
        float* __restrict to = out + i + run * 32 + part * 16;
        for (int j = 0; j < 16; ++j) to[j] = scale * static_cast<float>(values[part * 16 + j]) - min;
      }
    }
  }
}

}  // namespace flashmoe
