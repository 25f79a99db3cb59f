// A vector of f32 in one AVX2 register; the same interface as avx512/vec.h, where its rules are explained.
#pragma once

#include <immintrin.h>

#include <cstdint>

#if !defined(FLASHMOE_ISA)  // or what the including source names: the int8 matmuls exist more than once
#define FLASHMOE_ISA avx2
#endif

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kLanes = 8;
inline constexpr int kGroup = 4;  // activation rows whose sums, two each, fit in the registers

struct Vec {
  __m256 v;
};

inline constexpr int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

// Which lanes a load or store touches: all, or the first n (0 < n < kLanes). Other lanes load as zero.
struct All {};
struct First {
  int64_t n;
  __m256i mask() const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - n)); }
};

inline Vec zero() { return {_mm256_setzero_ps()}; }
inline Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p, All = {}) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const float* p, First lanes) { return {_mm256_maskload_ps(p, lanes.mask())}; }
inline void store(float* p, Vec x, All = {}) { _mm256_storeu_ps(p, x.v); }
inline void store(float* p, Vec x, First lanes) { _mm256_maskstore_ps(p, lanes.mask(), x.v); }

inline Vec load(const uint16_t* half, All = {}) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half)))};
}
inline Vec load(const uint16_t* half, First lanes) {
  uint16_t copy[8] = {};
  for (int64_t j = 0; j < lanes.n; ++j) copy[j] = half[j];
  return load(copy);
}
inline void store(uint16_t* half, Vec x, All = {}) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(half), _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store(uint16_t* half, Vec x, First lanes) {
  uint16_t copy[8];
  store(copy, x);
  for (int64_t j = 0; j < lanes.n; ++j) half[j] = copy[j];
}
inline Vec load_bf16(const void* p) {
  const __m128i upper = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16))};
}
// Unsigned bytes.
inline Vec load_bytes(const void* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))))};
}
// 2^-8 of E4M3 values: their bits moved to where a half has them; 0x7f and 0xff become not-a-number.
inline Vec load_e4m3(const void* p) {
  const __m128i bytes = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  const __m128i magnitude = _mm_and_si128(bytes, _mm_set1_epi16(0x7f));
  const __m128i half =
      _mm_or_si128(_mm_slli_epi16(magnitude, 7), _mm_slli_epi16(_mm_and_si128(bytes, _mm_set1_epi16(0x80)), 8));
  const __m128i no_number = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
  return {_mm256_cvtph_ps(_mm_or_si128(half, _mm_and_si128(no_number, _mm_set1_epi16(0x7e00))))};
}
inline void load_e4m3(const void* p, Vec out[4]) {
  for (int k = 0; k < 4; ++k) out[k] = load_e4m3(static_cast<const char*>(p) + k * kLanes);
}

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n for whole n in [-126, 127].
inline Vec pow2(Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
// y where x >= limit, else 0.
inline Vec zero_below(Vec x, float limit, Vec y) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.v, _mm256_set1_ps(limit), _CMP_NLT_UQ), y.v)};
}
inline float sum_lanes(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max_lane(Vec a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline float first(Vec a) { return _mm256_cvtss_f32(a.v); }
// 32 whole numbers near x, halves to even, as bytes; returns their sum.
inline int32_t store_bytes(int8_t* to, const Vec (&x)[4]) {
  __m256i q[4];
  for (int j = 0; j < 4; ++j) q[j] = _mm256_cvtps_epi32(x[j].v);
  // The packs work within 128-bit halves: 4-byte pieces come out as 0 2 4 6 | 1 3 5 7.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), ordered);
  const __m256i total = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// out[k] lane j = p[4 j + k].
inline void load_by_four(const float* p, Vec out[4]) {
  const auto pair = [p](int j) {  // [p[4 j ..], p[4 (j + 4) ..]]
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4 * j)), _mm_loadu_ps(p + 4 * j + 16), 1);
  };
  const __m256 a = pair(0), b = pair(1), c = pair(2), d = pair(3);
  const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
  const __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
  out[0].v = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
  out[1].v = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
  out[2].v = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
  out[3].v = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
}

}  // namespace flashmoe::FLASHMOE_ISA
