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

#include <bit>
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
// Unsigned bytes.
inline Vec load_bytes(const void* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))))};
}
// 2^-8 of E4M3 values: the upper two bytes of their f32, looked up by the seven bits of the magnitude. Converting
// halves would take nearly twice as long (docs/experiments/0029-formats-that-wait-for-arithmetic.md).
struct E4m3Tables {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};
consteval E4m3Tables e4m3_tables() {
  E4m3Tables tables = {};
  for (int i = 0; i < 128; ++i) {
    const int exponent = i >> 3, fraction = i & 7, units = exponent == 0 ? fraction : (8 + fraction) << (exponent - 1);
    const uint32_t bits = i == 127 ? 0x7fc00000u : std::bit_cast<uint32_t>(static_cast<float>(units) * 0x1p-17f);
    tables.low[i] = static_cast<uint8_t>(bits >> 16 & 255);
    tables.high[i] = static_cast<uint8_t>(bits >> 24);
  }
  return tables;
}
struct E4m3Bytes {
  static constexpr E4m3Tables kTables = e4m3_tables();
  __m512i low, high;

  explicit E4m3Bytes(__m512i values) : low(look_up(kTables.low, values)), high(look_up(kTables.high, values)) {
    high = _mm512_ternarylogic_epi32(high, values, _mm512_set1_epi8(-128), 0xf8);
  }
  static __m512i look_up(const uint8_t table[128], __m512i values) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), values, _mm512_load_si512(table + 64));
  }
};
inline Vec load_e4m3(const void* p) {
  const __m512i values = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const E4m3Bytes bytes(_mm512_mullo_epi32(values, _mm512_set1_epi32(0x01010000)));
  const __m512i low = _mm512_maskz_mov_epi8(0x4444444444444444, bytes.low);
  return {_mm512_castsi512_ps(_mm512_mask_mov_epi8(low, 0x8888888888888888, bytes.high))};
}
inline void load_e4m3(const void* p, Vec out[4]) {
  // Fours of bytes where unpacking in lanes takes them from: then out[k] has values 16 k and on.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i values = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(p));
  asm("" : "+v"(values));  // GCC would do it once more for each register that a permute overwrites
  const E4m3Bytes bytes(values);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i front = _mm512_unpacklo_epi8(bytes.low, bytes.high);
  const __m512i back = _mm512_unpackhi_epi8(bytes.low, bytes.high);
  out[0].v = _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, front));
  out[1].v = _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, front));
  out[2].v = _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, back));
  out[3].v = _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, back));
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
// 32 whole numbers near x, halves to even, as bytes; returns their sum.
inline int32_t store_bytes(int8_t* to, const Vec (&x)[2]) {
  const __m512i a = _mm512_cvtps_epi32(x[0].v), b = _mm512_cvtps_epi32(x[1].v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm512_cvtepi32_epi8(b));
  return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

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
