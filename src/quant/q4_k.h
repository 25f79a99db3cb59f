// Q4_K: 256 nibbles in 8 groups of 32, each with a 6-bit scale and a 6-bit minimum. w = (d * scale) * q - dmin * min.
// Bytes 32 j .. 32 j + 31 of q hold group 2 j in their low and group 2 j + 1 in their high nibbles.
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ4_K {
  static constexpr int kValues = 256;
  uint8_t d[2];        // f16
  uint8_t dmin[2];     // f16
  uint8_t scales[12];  // see unpack_scales_k
  uint8_t q[128];
};
static_assert(sizeof(BlockQ4_K) == 144 && alignof(BlockQ4_K) == 1);

// The 6-bit scales and minimums of Q4_K and Q5_K. Groups 0..3: the low six bits of bytes 0..3 (scales) and 4..7
// (minimums). Groups 4..7: their low nibbles are in bytes 8..11 (scale low, minimum high), their two upper bits on top
// of bytes 0..3 and 4..7.
static inline void unpack_scales_k(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8]) noexcept {
  for (int j = 0; j < 4; ++j) {
    scales[j] = packed[j] & 63;
    mins[j] = packed[j + 4] & 63;
    scales[j + 4] = static_cast<uint8_t>((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
    mins[j + 4] = static_cast<uint8_t>(packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4);
  }
}

static inline void decode_q4_k(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ4_K*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ4_K::kValues, ++block) {
    const float d = load_f16(block->d), dmin = load_f16(block->dmin);
    uint8_t scales[8], mins[8];
    unpack_scales_k(block->scales, scales, mins);
    for (int group = 0; group < 8; ++group) {
      const float scale = d * static_cast<float>(scales[group]), min = dmin * static_cast<float>(mins[group]);
      const uint8_t* q = block->q + group / 2 * 32;
      const int shift = group % 2 * 4;
      float* __restrict to = out + i + group * 32;
      uint8_t values[32];  // bytes first: both loops vectorise, their combination does not
      for (int j = 0; j < 32; ++j) values[j] = static_cast<uint8_t>(q[j] >> shift & 15);
      for (int j = 0; j < 32; ++j) to[j] = scale * static_cast<float>(values[j]) - min;
    }
  }
}

}  // namespace flashmoe
