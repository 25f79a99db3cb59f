// Q6_K: 256 six-bit values in 16 groups of 16, each with a signed byte scale. w = (d * scale) * (q - 32).
// Each half of 128 values has 64 bytes of low nibbles and 32 bytes of upper bit pairs: value 32 r + j (r in 0..3) of a
// half has its nibble in low[32 (r % 2) + j], the low one for r < 2, and its two bits at bit 2 r of high[j].
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ6_K {
  static constexpr int kValues = 256;
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  uint8_t d[2];  // f16
};
static_assert(sizeof(BlockQ6_K) == 210 && alignof(BlockQ6_K) == 1);

static inline void decode_q6_k(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ6_K*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ6_K::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int run = 0; run < 8; ++run) {  // 32 values each
      const int half = run / 4, r = run % 4;
      const uint8_t* low = block->low + half * 64 + r % 2 * 32;
      const uint8_t* high = block->high + half * 32;
      float* __restrict to = out + i + run * 32;
      for (int part = 0; part < 2; ++part) {  // 16 values each
        const float scale = d * static_cast<float>(block->scales[run * 2 + part]);
        for (int j = part * 16; j < part * 16 + 16; ++j) {
          const int value = (low[j] >> r / 2 * 4 & 15) | (high[j] >> r * 2 & 3) << 4;
          to[j] = scale * static_cast<float>(value - 32);
        }
      }
    }
  }
}

}  // namespace flashmoe
