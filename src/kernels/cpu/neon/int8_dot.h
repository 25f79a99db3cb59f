// Dot products of int8 activations with unpacked weights, NEON.
//
// Weights are unpacked 16 to a register, as signed bytes in whatever format: unsigned ones are at most 31. SDOT, where
// the CPU has it, adds products in fours. Without it pairs of products are added in 16 bits, which hold them:
// |x| <= 127, |w| <= 128, and 2 * 128 * 127 < 2^15.
#pragma once

#include "kernels/cpu/neon/vec.h"

namespace flashmoe::FLASHMOE_ISA {

// 32 weights.
struct Run {
  int8x16_t low, high;
};

inline uint8x16_t load16(const void* p) { return vld1q_u8(static_cast<const uint8_t*>(p)); }
inline uint8x8_t load8(const void* p) { return vld1_u8(static_cast<const uint8_t*>(p)); }
inline int8x16_t as_signed(uint8x16_t bytes) { return vreinterpretq_s8_u8(bytes); }
inline Run as_signed(uint8x16_t low, uint8x16_t high) { return {as_signed(low), as_signed(high)}; }
inline Run minus(uint8x16_t low, uint8x16_t high, uint8_t offset) {
  return as_signed(vsubq_u8(low, vdupq_n_u8(offset)), vsubq_u8(high, vdupq_n_u8(offset)));
}

inline float half_at(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, sizeof(half));
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}
inline uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}
inline uint64_t long_at(const uint8_t* p) {
  uint64_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

// Lanes of sums: `sums` and the products of 16 bytes.
inline int32x4_t add_dot(int32x4_t sums, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sums, w, x);
#else
  return vpadalq_s16(sums, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
#endif
}
inline int32x4_t dot(int8x16_t w, const int8_t* x) { return add_dot(vdupq_n_s32(0), w, vld1q_s8(x)); }
inline int32x4_t dot(const Run& w, const int8_t* x) { return add_dot(dot(w.low, x), w.high, vld1q_s8(x + 16)); }

// 8 f32, one for each 32 values of a superblock.
struct Eight {
  float32x4_t low, high;
};
inline Eight eight_at(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline Eight operator*(const Eight& a, const Eight& b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline Eight operator*(const Eight& a, float b) { return {vmulq_n_f32(a.low, b), vmulq_n_f32(a.high, b)}; }
inline void store(float to[8], const Eight& a) {
  vst1q_f32(to, a.low);
  vst1q_f32(to + 4, a.high);
}
inline Eight eight_of(uint8x8_t bytes) {
  const uint16x8_t words = vmovl_u8(bytes);
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))};
}

// 16 signed steps, one for each 16 values of a superblock.
inline void store_steps(int32_t to[16], int8x16_t steps) {
  const int16x8_t low = vmovl_s8(vget_low_s8(steps)), high = vmovl_high_s8(steps);
  vst1q_s32(to, vmovl_s16(vget_low_s16(low)));
  vst1q_s32(to + 4, vmovl_high_s16(low));
  vst1q_s32(to + 8, vmovl_s16(vget_low_s16(high)));
  vst1q_s32(to + 12, vmovl_high_s16(high));
}

}  // namespace flashmoe::FLASHMOE_ISA
