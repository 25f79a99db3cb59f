// How many int8 multiply-adds a second there are to have, of any values, on registers alone: one instruction for 32
// with VNNI, else three.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"

namespace flashmoe::FLASHMOE_ISA {

inline int64_t int8_peak(int64_t n_rounds, int32_t* sink) noexcept {
  constexpr int kSums = 8;
  const __m256i w = _mm256_set1_epi8(3);
  __m256i x = _mm256_set1_epi8(-2);
  __m256i sums[kSums];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t round = 0; round < n_rounds; ++round) {
    for (__m256i& sum : sums) {
      asm volatile("" : "+x"(x));  // else the products are computed once
      sum = add_fours(sum, w, x);
    }
  }
  __m256i total = sums[0];
  for (int i = 1; i < kSums; ++i) total = _mm256_add_epi32(total, sums[i]);
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), total);
  *sink = 0;
  for (const int32_t lane : lanes) *sink += lane;
  return n_rounds * kSums * 32;
}

}  // namespace flashmoe::FLASHMOE_ISA
