// Q5_0: Q4_0 with a fifth bit: bit j of the little-endian `high` belongs to value j. w = d * (q - 16).
#pragma once

#include "quant/f16.h"

namespace flashmoe {

struct BlockQ5_0 {
  static constexpr int kValues = 32;
  uint8_t d[2];  // f16
  uint8_t high[4];
  uint8_t q[16];  // low nibbles, ordered as in Q4_0
};
static_assert(sizeof(BlockQ5_0) == 22 && alignof(BlockQ5_0) == 1);

// The 32 values of Q5_0 and Q5_1, unsigned.
static inline void unpack_five_bits(const uint8_t high[4], const uint8_t q[16], uint8_t values[32]) noexcept {
  uint32_t bits;
  std::memcpy(&bits, high, sizeof(bits));
  uint8_t fifth[32];  // in loops of their own: these vectorise, their combination does not
  for (int j = 0; j < 32; ++j) fifth[j] = static_cast<uint8_t>((bits >> j & 1) << 4);
  for (int j = 0; j < 16; ++j) values[j] = static_cast<uint8_t>((q[j] & 15) | fifth[j]);
  for (int j = 0; j < 16; ++j) values[j + 16] = static_cast<uint8_t>(q[j] >> 4 | fifth[j + 16]);
}

static inline void decode_q5_0(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockQ5_0*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockQ5_0::kValues, ++block) {
    const float d = load_f16(block->d);
    uint8_t values[32];
    unpack_five_bits(block->high, block->q, values);
    for (int j = 0; j < 32; ++j) out[i + j] = d * static_cast<float>(values[j] - 16);
  }
}

}  // namespace flashmoe
