// How many int8 multiply-adds a second there are to have: what the matmuls do for 16, on registers alone.
#pragma once

#include "kernels/cpu/neon/int8_dot.h"

namespace flashmoe::FLASHMOE_ISA {

inline int64_t int8_peak(int64_t n_rounds, int32_t* sink) noexcept {
  constexpr int kSums = 16;  // independent, so that no sum waits for itself: latency up to 4, at most 4 a cycle
  const int8x16_t w = vdupq_n_s8(3);
  int8x16_t x = vdupq_n_s8(-2);
  int32x4_t sums[kSums];
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  for (int64_t round = 0; round < n_rounds; ++round) {
    for (int32x4_t& sum : sums) {
      asm volatile("" : "+w"(x));  // else the products are computed once
      sum = add_dot(sum, w, x);
    }
  }
  int32x4_t total = sums[0];
  for (int i = 1; i < kSums; ++i) total = vaddq_s32(total, sums[i]);
  *sink = vaddvq_s32(total);
  return n_rounds * kSums * 16;
}

}  // namespace flashmoe::FLASHMOE_ISA
