// Eight floats at a time, for the encoders. Sums are always over the same eight lanes in the same order, so every
// instruction set gives the same bits.
//
// These headers are compiled once for each instruction set. Everything in them is static or in an unnamed namespace,
// and nothing of the standard library is called that is a function of its own, so that no object holds another's code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif

namespace flashmoe {

using Lanes = float __attribute__((vector_size(32)));
using IntLanes = int32_t __attribute__((vector_size(32)));
inline constexpr int kLanes = 8;
using Quad = float __attribute__((vector_size(16)));

static inline Lanes load_lanes(const float* x) noexcept {
  Lanes v;
  std::memcpy(&v, x, sizeof(v));
  return v;
}
static inline void store_lanes(Lanes v, float* x) noexcept { std::memcpy(x, &v, sizeof(v)); }

// a > b ? a : b and a < b ? a : b, so b for what is not a number; compilers do not make one instruction of the
// comparison.
static inline Lanes larger(Lanes a, Lanes b) noexcept {
#ifdef __AVX__
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
static inline Lanes smaller(Lanes a, Lanes b) noexcept {
#ifdef __AVX__
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
static inline Lanes clamped(Lanes v, float low, float high) noexcept {
  return smaller(larger(v, Lanes{} + low), Lanes{} + high);
}
// To nearest, ties to even; |v| < 2^22.
static inline Lanes rounded(Lanes v) noexcept { return (v + 12582912.0f) - 12582912.0f; }

static inline Quad halves_added(Lanes v) noexcept {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
static inline float sum(Lanes v) noexcept {
  Quad half = halves_added(v);
  half += __builtin_shufflevector(half, half, 2, 3, 0, 1);
  return half[0] + half[1];
}
// The sums of four, each added in the same order as by itself.
static inline Quad sums(Lanes a, Lanes b, Lanes c, Lanes d) noexcept {
  const Quad a4 = halves_added(a), b4 = halves_added(b), c4 = halves_added(c), d4 = halves_added(d);
  const Quad ab = __builtin_shufflevector(a4, b4, 0, 4, 1, 5) + __builtin_shufflevector(a4, b4, 2, 6, 3, 7);
  const Quad cd = __builtin_shufflevector(c4, d4, 0, 4, 1, 5) + __builtin_shufflevector(c4, d4, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
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
    low = smaller(v, low);
    high = larger(v, high);
  }
  Range range = {low[0], high[0]};
  for (int i = 1; i < kLanes; ++i) {
    range.low = low[i] < range.low ? low[i] : range.low;
    range.high = high[i] > range.high ? high[i] : range.high;
  }
  return range;
}

}  // namespace flashmoe
