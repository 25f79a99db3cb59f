// Integer products of attention on an int8 cache, a register at a time; the same interface as avx2/ints.h.
#pragma once

#include "kernels/cpu/avx512/vec.h"

namespace flashmoe::avx512 {

struct Ints {
  __m512i v;
};
inline Ints no_ints() { return {_mm512_setzero_si512()}; }
inline Vec to_float(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline int32_t four_bytes(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

// Keys are stored as k + 128 and multiplied as they are: a sum over q (k + 128) starts at -128 sum(q).
struct Keys {
  __m512i v;  // four dimensions of each of kLanes positions
};
inline Keys load_keys(const std::byte* p) { return {_mm512_loadu_si512(p)}; }
inline Ints start_of_keys(int32_t q_sum) { return {_mm512_set1_epi32(-128 * q_sum)}; }
struct FourOfQuery {
  __m512i v;
};
inline FourOfQuery load_four(const int8_t* q) { return {_mm512_set1_epi32(four_bytes(q))}; }
inline Ints add_fours(Ints sum, Keys keys, FourOfQuery q) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(keys.v), "v"(q.v));
  return sum;
}

// Two positions of kLanes dimensions, times two 16-bit weights.
struct Pairs {
  __m512i v;
};
inline Pairs load_pairs(const int8_t* p) {
  return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
struct TwoWeights {
  __m512i v;
};
inline TwoWeights load_two(const int16_t* weights) { return {_mm512_set1_epi32(four_bytes(weights))}; }
inline Ints add_pairs(Ints sum, Pairs pairs, TwoWeights weights) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.v) : "v"(pairs.v), "v"(weights.v));
  return sum;
}

// Rounds to nearest even.
inline void store_int16(int16_t* to, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x.v)));
}

}  // namespace flashmoe::avx512
