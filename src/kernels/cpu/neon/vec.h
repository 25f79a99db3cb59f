// A vector of f32 in one NEON register; the same interface as avx512/vec.h, where its rules are explained.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#if !defined(FLASHMOE_ISA)  // or what the including source names: neon's int8 matmuls exist twice
#define FLASHMOE_ISA neon
#endif

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kLanes = 4;
inline constexpr int kGroup = 8;  // activation rows whose sums, two each, fit in the registers

struct Vec {
  float32x4_t v;
};

// Which lanes a load or store touches: all, or the first n (0 < n < kLanes). Other lanes load as zero.
struct All {};
struct First {
  int64_t n;
};

inline Vec zero() { return {vdupq_n_f32(0)}; }
inline Vec broadcast(float x) { return {vdupq_n_f32(x)}; }
inline Vec load(const float* p, All = {}) { return {vld1q_f32(p)}; }
inline Vec load(const float* p, First lanes) {
  float copy[kLanes] = {};
  for (int64_t j = 0; j < lanes.n; ++j) copy[j] = p[j];
  return load(copy);
}
inline void store(float* p, Vec x, All = {}) { vst1q_f32(p, x.v); }
inline void store(float* p, Vec x, First lanes) {
  float copy[kLanes];
  store(copy, x);
  for (int64_t j = 0; j < lanes.n; ++j) p[j] = copy[j];
}

inline Vec load(const uint16_t* half, All = {}) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half)))}; }
inline Vec load(const uint16_t* half, First lanes) {
  uint16_t copy[kLanes] = {};
  for (int64_t j = 0; j < lanes.n; ++j) copy[j] = half[j];
  return load(copy);
}
inline void store(uint16_t* half, Vec x, All = {}) { vst1_u16(half, vreinterpret_u16_f16(vcvt_f16_f32(x.v))); }
inline void store(uint16_t* half, Vec x, First lanes) {
  uint16_t copy[kLanes];
  store(copy, x);
  for (int64_t j = 0; j < lanes.n; ++j) half[j] = copy[j];
}
inline Vec load_bf16(const void* p) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(p))), 16))};
}
// Unsigned bytes.
inline Vec load_bytes(const void* p) {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  const uint16x8_t words = vmovl_u8(vcreate_u8(four));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(words)))};
}
// 2^-8 of E4M3 values: their bits moved to where a half has them; 0x7f and 0xff become not-a-number.
inline Vec load_e4m3(const void* p) {
  const auto* bytes = static_cast<const uint8_t*>(p);
  uint16_t half[kLanes];
  for (int j = 0; j < kLanes; ++j) {
    const int magnitude = bytes[j] & 0x7f;
    half[j] = static_cast<uint16_t>(magnitude == 0x7f ? 0x7e00 : (bytes[j] & 0x80) << 8 | magnitude << 7);
  }
  return load(half);
}
inline void load_e4m3(const void* p, Vec out[4]) {
  for (int k = 0; k < 4; ++k) out[k] = load_e4m3(static_cast<const char*>(p) + k * kLanes);
}

inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }   // a * b + c
inline Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }  // c - a * b
inline Vec max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }
inline Vec abs(Vec a) { return {vabsq_f32(a.v)}; }
inline Vec round(Vec a) { return {vrndnq_f32(a.v)}; }
// 2^n for whole n in [-126, 127].
inline Vec pow2(Vec n) {
  return {vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(127)), 23))};
}
// y where x >= limit, else 0.
inline Vec zero_below(Vec x, float limit, Vec y) {
  const uint32x4_t is_below = vcltq_f32(x.v, vdupq_n_f32(limit));
  return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y.v), is_below))};
}
inline float sum_lanes(Vec a) {  // in halves, as other tables do
  const float32x2_t halves = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(halves, 0) + vget_lane_f32(halves, 1);
}
inline float max_lane(Vec a) { return vmaxvq_f32(a.v); }
inline float first(Vec a) { return vgetq_lane_f32(a.v, 0); }
// 32 whole numbers near x, halves to even, as bytes; returns their sum.
inline int32_t store_bytes(int8_t* to, const Vec (&x)[8]) {
  int32x4_t total = vdupq_n_s32(0);
  for (int j = 0; j < 4; ++j) {
    const int32x4_t low = vcvtnq_s32_f32(x[2 * j].v), high = vcvtnq_s32_f32(x[2 * j + 1].v);
    total = vaddq_s32(total, vaddq_s32(low, high));
    vst1_s8(to + 8 * j, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
  }
  return vaddvq_s32(total);
}

// out[k] lane j = p[4 j + k].
inline void load_by_four(const float* p, Vec out[4]) {
  const float32x4x4_t by_four = vld4q_f32(p);
  for (int k = 0; k < 4; ++k) out[k].v = by_four.val[k];
}

}  // namespace flashmoe::FLASHMOE_ISA
