// A vector of f32 in one AVX-512 register; the same interface as avx2/vec.h, for the algorithms in cpu/vector/.
//
// Everything that these headers define lives in this instruction set's namespace: an inline function shared with other
// objects could be the copy the linker keeps, and then run on machines without AVX-512. For the same reason sources
// compiled for one instruction set call no inline library functions (std::min, MatrixView::row).
#pragma once

// GCC 12's header warns about its own deliberately undefined values wherever they are inlined (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#define FLASHMOE_ISA avx512

namespace flashmoe::avx512 {

inline constexpr int64_t kLanes = 16;
inline constexpr int kGroup = 8;  // activation rows whose sums, two each, fit in the registers

struct Vec {
  __m512 v;
};

// Which lanes a load or store touches: all, or the first n (0 < n < kLanes). Other lanes load as zero.
struct All {};
struct First {
  int64_t n;
  __mmask16 mask() const { return static_cast<__mmask16>((1u << n) - 1); }
};

inline Vec zero() { return {_mm512_setzero_ps()}; }
inline Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p, All = {}) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const float* p, First lanes) { return {_mm512_maskz_loadu_ps(lanes.mask(), p)}; }
inline void store(float* p, Vec x, All = {}) { _mm512_storeu_ps(p, x.v); }
inline void store(float* p, Vec x, First lanes) { _mm512_mask_storeu_ps(p, lanes.mask(), x.v); }

inline Vec load(const uint16_t* half, All = {}) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(half)))};
}
inline Vec load(const uint16_t* half, First lanes) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes.mask(), half))};
}
inline void store(uint16_t* half, Vec x, All = {}) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(half), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store(uint16_t* half, Vec x, First lanes) {
  _mm256_mask_storeu_epi16(half, lanes.mask(), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline Vec load_bf16(const void* p) {
  const __m256i upper = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16))};
}
// 2^-8 of E4M3 values: their bits moved to where a half has them. The sign comes down twice, onto the highest bit of
// the exponent, which is to be set where all others are, in 0x7f and 0xff, and makes these not-a-number.
inline Vec load_e4m3(const void* p) {
  const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m256i moved = _mm256_srai_epi16(_mm256_slli_epi16(words, 8), 1);
  const __m256i magnitude = _mm256_and_si256(moved, _mm256_set1_epi16(0x3f80));
  const __m256i carried = _mm256_add_epi16(magnitude, _mm256_set1_epi16(0x0080));
  return {_mm512_cvtph_ps(_mm256_ternarylogic_epi32(_mm256_set1_epi16(0x4000), carried, moved, 0xca))};
}
// The same of 32 values, whose bytes come into the upper halves of words at once.
struct UpperBytes {
  alignas(64) uint8_t of[64];
};
consteval UpperBytes upper_bytes() {
  UpperBytes bytes = {};
  for (int j = 0; j < 64; ++j) bytes.of[j] = static_cast<uint8_t>(j / 2);
  return bytes;
}
inline void load_e4m3(const void* p, Vec out[2]) {
  static constexpr UpperBytes kUpper = upper_bytes();
  const __m512i bytes = _mm512_castsi256_si512(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  const __m512i words = _mm512_maskz_permutexvar_epi8(0xaaaaaaaaaaaaaaaa, _mm512_load_si512(kUpper.of), bytes);
  const __m512i moved = _mm512_srai_epi16(words, 1);
  const __m512i carried = _mm512_add_epi16(_mm512_and_si512(moved, _mm512_set1_epi16(0x3f80)), _mm512_set1_epi16(0x80));
  const __m512i halves = _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x4000), carried, moved, 0xca);
  out[0].v = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
  out[1].v = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
}

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n for whole n in [-126, 127].
inline Vec pow2(Vec n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
}
// y where x >= limit, else 0.
inline Vec zero_below(Vec x, float limit, Vec y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_NLT_UQ), y.v)};
}
inline float sum_lanes(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float max_lane(Vec a) { return _mm512_reduce_max_ps(a.v); }
inline float first(Vec a) { return _mm512_cvtss_f32(a.v); }

// out[k] lane j = p[4 j + k].
inline void load_by_four(const float* p, Vec out[4]) {
  const __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16);
  const __m512 c = _mm512_loadu_ps(p + 32), d = _mm512_loadu_ps(p + 48);
  const __m512i by_four = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  for (int k = 0; k < 4; ++k) {
    const __m512i index = _mm512_add_epi32(by_four, _mm512_set1_epi32(k));
    const __m512 low = _mm512_permutex2var_ps(a, index, b), high = _mm512_permutex2var_ps(c, index, d);
    out[k].v = _mm512_mask_blend_ps(0xff00, low, high);
  }
}

}  // namespace flashmoe::avx512
