// Integer products of attention on an int8 cache, a register at a time; the same interface as avx512/ints.h.
#pragma once

#include "kernels/cpu/neon/vec.h"

namespace flashmoe::FLASHMOE_ISA {

struct Ints {
  int32x4_t v;
};
inline Ints no_ints() { return {vdupq_n_s32(0)}; }
inline Vec to_float(Ints a) { return {vcvtq_f32_s32(a.v)}; }

// Keys are stored as k + 128.
struct Keys {
  int8x16_t v;  // four dimensions of each of kLanes positions
};
inline Keys load_keys(const std::byte* p) {
  const uint8x16_t stored = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
  return {vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(128)))};
}
inline Ints start_of_keys(int32_t) { return no_ints(); }
struct FourOfQuery {
  int8x8_t v;  // twice
};
inline FourOfQuery load_four(const int8_t* q) {
  int32_t word;
  __builtin_memcpy(&word, q, sizeof(word));
  return {vreinterpret_s8_s32(vdup_n_s32(word))};
}
inline Ints add_fours(Ints sum, Keys keys, FourOfQuery q) {
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(keys.v), q.v));
  const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(keys.v), q.v));
  return {vaddq_s32(sum.v, vpaddq_s32(low, high))};
}

// Two positions of kLanes dimensions, times two 16-bit weights.
struct Pairs {
  int16x8_t v;
};
inline Pairs load_pairs(const int8_t* p) { return {vmovl_s8(vld1_s8(p))}; }
struct TwoWeights {
  int16x4_t v;  // twice
};
inline TwoWeights load_two(const int16_t* weights) {
  int32_t word;
  __builtin_memcpy(&word, weights, sizeof(word));
  return {vreinterpret_s16_s32(vdup_n_s32(word))};
}
inline Ints add_pairs(Ints sum, Pairs pairs, TwoWeights weights) {
  const int32x4_t low = vmull_s16(vget_low_s16(pairs.v), weights.v);
  const int32x4_t high = vmull_s16(vget_high_s16(pairs.v), weights.v);
  return {vaddq_s32(sum.v, vpaddq_s32(low, high))};
}

// Rounds to nearest even.
inline void store_int16(int16_t* to, Vec x) { vst1_s16(to, vqmovn_s32(vcvtnq_s32_f32(x.v))); }

}  // namespace flashmoe::FLASHMOE_ISA
