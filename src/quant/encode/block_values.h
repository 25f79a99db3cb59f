// The values of one block, as the searches want them: near 1, with weights near 1.
#pragma once

#include <bit>

#include "quant/encode/lanes.h"
#include "quant/f16.h"

namespace flashmoe {

// The block is x * 2^exponent; the largest |x| is in [1, 2), or 0.
template <int kValues>
struct BlockValues {
  float x[kValues];
  float w[kValues];
  float largest;
  int exponent;
};

static inline float power_of_two(int exponent) noexcept {  // normal ones: -126 .. 127
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}
// v * 2^exponent for exponents out of one factor's range.
static inline float scaled(float v, int exponent) noexcept {
  const int half = exponent / 2;
  return v * power_of_two(half) * power_of_two(exponent - half);
}

// A column of no importance still gets its value as well as the others leave room for.
inline constexpr float kLeastWeight = 1e-6f;

static inline float largest_of(const float* x, int n) noexcept {
  Lanes largest = {};
  for (int i = 0; i < n; i += kLanes) {
    const Lanes v = load_lanes(x + i), size = v < 0.0f ? -v : v;
    largest = size > largest ? size : largest;
  }
  float result = 0;
  for (int i = 0; i < kLanes; ++i) result = largest[i] > result ? largest[i] : result;
  return result;
}

// n values, a multiple of 8; `importance` [n] or null.
template <int kValues>
static inline void take_values(const float* x, const float* importance, int n, BlockValues<kValues>& block) noexcept {
  const float largest = largest_of(x, n);
  const int bits = static_cast<int>(std::bit_cast<uint32_t>(largest) >> 23);
  // Subnormal numbers first become normal ones.
  const int exponent =
      bits > 0 ? bits - 127 : static_cast<int>(std::bit_cast<uint32_t>(largest * 0x1p64f) >> 23) - 127 - 64;
  block.exponent = largest > 0 ? exponent : 0;
  const int half = -block.exponent / 2;
  const float factor = power_of_two(half), rest = power_of_two(-block.exponent - half);
  for (int i = 0; i < n; i += kLanes) store_lanes(load_lanes(x + i) * factor * rest, block.x + i);
  block.largest = largest_of(block.x, n);
  const float most = importance == nullptr ? 0 : largest_of(importance, n);
  if (most > 0x1p-100f && most < 0x1p100f) {
    const float inverse = 1 / most;
    for (int i = 0; i < n; i += kLanes) {
      store_lanes(load_lanes(importance + i) * inverse + kLeastWeight, block.w + i);
    }
  } else {
    for (int i = 0; i < n; ++i) block.w[i] = 1;
  }
}

// A block's scale as the file holds it: d * 2^exponent as f16, never infinite, and what it says in the block's units.
struct StoredHalf {
  uint16_t bits;
  float value;
};
static inline StoredHalf stored_half(float d, int exponent) noexcept {
  const uint16_t bits = f32_to_f16(clamped(scaled(d, exponent), -65504.0f, 65504.0f));
  return {bits, scaled(f16_to_f32(bits), -exponent)};
}

}  // namespace flashmoe
