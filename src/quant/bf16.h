// BF16: the upper half of an IEEE binary32, little-endian. One value per block.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashmoe {

static inline void decode_bf16(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  for (int64_t i = 0; i < n_values; ++i) {
    uint16_t upper;
    std::memcpy(&upper, blocks + i * 2, sizeof(upper));
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(upper) << 16);
  }
}

// Rounds to nearest, ties to even; overflow becomes infinity, NaN a quiet NaN.
static inline uint16_t f32_to_bf16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace flashmoe
