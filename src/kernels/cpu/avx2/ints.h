// Integer products of attention on an int8 cache, a register at a time; the same interface as avx512/ints.h.
#pragma once

#include "kernels/cpu/avx2/vec.h"

namespace flashmoe::FLASHMOE_ISA {

struct Ints {
  __m256i v;
};
inline Ints no_ints() { return {_mm256_setzero_si256()}; }
inline Vec to_float(Ints a) { return {_mm256_cvtepi32_ps(a.v)}; }

inline int32_t four_bytes(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

// Keys are stored as k + 128. vpmaddubsw saturates at 2^15: it gets |k| <= 128 and q with k's sign.
struct Keys {
  __m256i v, size;  // four dimensions of each of kLanes positions, and their absolute values
};
inline Keys load_keys(const std::byte* p) {
  const __m256i stored = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i v = _mm256_xor_si256(stored, _mm256_set1_epi8(-128));
  return {v, _mm256_abs_epi8(v)};
}
inline Ints start_of_keys(int32_t) { return no_ints(); }
struct FourOfQuery {
  __m256i v;
};
inline FourOfQuery load_four(const int8_t* q) { return {_mm256_set1_epi32(four_bytes(q))}; }
inline Ints add_fours(Ints sum, Keys keys, FourOfQuery q) {
  const __m256i twos = _mm256_maddubs_epi16(keys.size, _mm256_sign_epi8(q.v, keys.v));
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)))};
}

// Two positions of kLanes dimensions, times two 16-bit weights.
struct Pairs {
  __m256i v;
};
inline Pairs load_pairs(const int8_t* p) {
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
struct TwoWeights {
  __m256i v;
};
inline TwoWeights load_two(const int16_t* weights) { return {_mm256_set1_epi32(four_bytes(weights))}; }
inline Ints add_pairs(Ints sum, Pairs pairs, TwoWeights weights) {
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(pairs.v, weights.v))};
}

// Rounds to nearest even.
inline void store_int16(int16_t* to, Vec x) {
  const __m256i whole = _mm256_cvtps_epi32(x.v);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(whole, whole), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}

}  // namespace flashmoe::FLASHMOE_ISA
