// The formats of 32 values unpacked to signed bytes, NEON.
#pragma once

#include "kernels/cpu/neon/int8_dot.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace flashmoe::FLASHMOE_ISA {

inline uint8x16_t low_nibbles(uint8x16_t both) { return vandq_u8(both, vdupq_n_u8(15)); }
inline uint8x16_t high_nibbles(uint8x16_t both) { return vshrq_n_u8(both, 4); }

// 0xff in byte j where bit j of two bytes is set.
inline uint8x16_t bytes_of_bits(const uint8_t bits[2]) {
  const uint8x16_t each = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
  const uint8x8_t bit = vcreate_u8(0x8040201008040201);
  return vtstq_u8(each, vcombine_u8(bit, bit));
}
inline uint8x16_t fifth_bits(const uint8_t bits[2]) { return vandq_u8(bytes_of_bits(bits), vdupq_n_u8(16)); }
inline Run levels_of(const uint8_t q[16], const int8_t levels[16]) {
  const uint8x16_t both = load16(q);
  const int8x16_t table = vld1q_s8(levels);
  return {vqtbl1q_s8(table, low_nibbles(both)), vqtbl1q_s8(table, high_nibbles(both))};
}

inline Run unpack(const BlockQ8_0& block) { return {vld1q_s8(block.q), vld1q_s8(block.q + 16)}; }
inline Run unpack(const BlockQ4_0& block) {
  const uint8x16_t both = load16(block.q);
  return minus(low_nibbles(both), high_nibbles(both), 8);
}
inline Run unpack(const BlockQ5_0& block) {
  const uint8x16_t both = load16(block.q);
  return minus(vorrq_u8(low_nibbles(both), fifth_bits(block.high)),
               vorrq_u8(high_nibbles(both), fifth_bits(block.high + 2)), 16);
}
inline Run unpack(const BlockIQ4_NL& block) { return levels_of(block.q, kIq4Levels); }
inline Run unpack(const BlockMXFP4& block) { return levels_of(block.q, kMxfp4Levels); }
inline Run unpack(const BlockQ4_1& block) {
  const uint8x16_t both = load16(block.q);
  return as_signed(low_nibbles(both), high_nibbles(both));
}
inline Run unpack(const BlockQ5_1& block) {
  const uint8x16_t both = load16(block.q);
  return as_signed(vorrq_u8(low_nibbles(both), fifth_bits(block.high)),
                   vorrq_u8(high_nibbles(both), fifth_bits(block.high + 2)));
}

template <typename Block>
inline float scale_of(const Block& block) {
  return half_at(block.d);
}
inline float scale_of(const BlockMXFP4& block) { return half_e8m0(block.e); }

}  // namespace flashmoe::FLASHMOE_ISA
