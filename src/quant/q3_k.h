// Q3_K: 256 three-bit values in 16 groups of 16, each with a 6-bit scale. w = (d * (scale - 32)) * (q - 4).
// The low two bits are ordered as in Q2_K; bit r of high[j] is the third bit of value 32 r + j.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ3_K {
  static constexpr int kValues = 256;
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];  // see unpack_scales_q3_k
  uint8_t d[2];        // f16
};
static_assert(sizeof(BlockQ3_K) == 110 && alignof(BlockQ3_K) == 1);

// Signed scales. Group g has its low nibble in byte g % 8 (low half for g < 8) and its two upper bits at bit
// 2 (g / 4) of byte 8 + g % 4.
static inline void unpack_scales_q3_k(const uint8_t packed[12], int8_t scales[16]) noexcept {
  for (int g = 0; g < 16; ++g) {
    const int low = packed[g % 8] >> g / 8 * 4 & 15, high = packed[8 + g % 4] >> g / 4 * 2 & 3;
    scales[g] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

static inline void decode_q3_k(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ3_K*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ3_K::kValues, ++block) {
    const float d = load_f16(block->d);
    int8_t scales[16];
    unpack_scales_q3_k(block->scales, scales);
    for (int run = 0; run < 8; ++run) {  // 32 values each
      const uint8_t* q = block->q + run / 4 * 32;
      const int shift = run % 4 * 2;
      int8_t values[32];  // bytes first: both loops vectorise, their combination does not
      for (int j = 0; j < 32; ++j) {
        values[j] = static_cast<int8_t>(((q[j] >> shift & 3) | (block->high[j] >> run & 1) << 2) - 4);
      }
      for (int part = 0; part < 2; ++part) {  // 16 values each
        const float scale = d * static_cast<float>(scales[run * 2 + part]);
        float* __restrict to = out + i + run * 32 + part * 16;
        for (int j = 0; j < 16; ++j) to[j] = scale * static_cast<float>(values[part * 16 + j]);
      }
    }
  }
}

}  // namespace flashmoe
