// How many int8 multiply-adds a second there are to have: vpdpbusd on registers alone.
#pragma once

#include "kernels/cpu/avx512/vec.h"

namespace flashmoe::avx512 {

inline int64_t int8_peak(int64_t n_rounds, int32_t* sink) noexcept {
  constexpr int kSums = 16;  // independent, so that no sum waits for itself: latency 4, at most 2 a cycle
  const __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(-2);
  __m512i sums[kSums];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (int64_t round = 0; round < n_rounds; ++round) {
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, w, x);
  }
  __m512i total = sums[0];
  for (int i = 1; i < kSums; ++i) total = _mm512_add_epi32(total, sums[i]);
  *sink = _mm512_reduce_add_epi32(total);
  return n_rounds * kSums * 64;
}

}  // namespace flashmoe::avx512
