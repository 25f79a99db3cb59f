// Eight floats at a time, for the encoders. Sums are always over the same eight lanes in the same order, so every
// instruction set gives the same bits.
//
// These headers are compiled once for each instruction set. Everything in them is static or in an unnamed namespace,
// and nothing of the standard library is called that is a function of its own, so that no object holds another's code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace flashmoe {

using Lanes = float __attribute__((vector_size(32)));
using IntLanes = int32_t __attribute__((vector_size(32)));
inline constexpr int kLanes = 8;

static inline Lanes load_lanes(const float* x) noexcept {
  Lanes v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}
static inline void store_lanes(Lanes v, float* x) noexcept { std::memcpy(x, &v, sizeof(v)); }

static inline Lanes clamped(Lanes v, float low, float high) noexcept {
  v = v > low ? v : Lanes{} + low;  // also for what is not a number
  return v < high ? v : Lanes{} + high;
}
// To nearest, ties to even; |v| < 2^22.
static inline Lanes rounded(Lanes v) noexcept { return (v + 12582912.0f) - 12582912.0f; }

static inline float sum(Lanes v) noexcept {
  using Half = float __attribute__((vector_size(16)));
  Half half = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  half += __builtin_shufflevector(half, half, 2, 3, 0, 1);
  return half[0] + half[1];
}

static inline float clamped(float v, float low, float high) noexcept {
  v = v > low ? v : low;
  return v < high ? v : high;
}
static inline float rounded(float v) noexcept { return (v + 12582912.0f) - 12582912.0f; }
static inline float magnitude(float v) noexcept { return __builtin_fabsf(v); }

struct Range {
  float low, high;
};
static inline Range range_of(const float* x, int n) noexcept {
  Lanes low = load_lanes(x), high = low;
  for (int i = kLanes; i < n; i += kLanes) {
    const Lanes v = load_lanes(x + i);
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  Range range = {low[0], high[0]};
  for (int i = 1; i < kLanes; ++i) {
    range.low = low[i] < range.low ? low[i] : range.low;
    range.high = high[i] > range.high ? high[i] : range.high;
  }
  return range;
}

}  // namespace flashmoe
