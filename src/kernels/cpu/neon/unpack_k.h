// The K formats unpacked to signed bytes, NEON.
//
// Formats of 256 values have run_of(block, r), values [32 r, 32 r + 32). Those with a scale for each 32 have
// scales(block), and mins(block) if there are minimums, which are subtracted. Those with a scale for each 16 have it as
// step_unit(block) times a whole number of steps(block), and minimums as min_unit(block) times min_steps(block).
#pragma once

#include "kernels/cpu/neon/unpack_32.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace flashmoe::FLASHMOE_ISA {

// The 6-bit scales and minimums of Q4_K and Q5_K, 8 bytes each.
inline uint8x8_t scale_bytes(const uint8_t packed[12]) {
  const uint32_t a = word_at(packed), c = word_at(packed + 8);
  const uint64_t upper = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
  return vcreate_u8((a & 0x3f3f3f3fu) | upper << 32);
}
inline uint8x8_t min_bytes(const uint8_t packed[12]) {
  const uint32_t b = word_at(packed + 4), c = word_at(packed + 8);
  const uint64_t upper = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
  return vcreate_u8((b & 0x3f3f3f3fu) | upper << 32);
}
inline Eight scales(const BlockQ4_K& block) { return eight_of(scale_bytes(block.scales)) * half_at(block.d); }
inline Eight scales(const BlockQ5_K& block) { return eight_of(scale_bytes(block.scales)) * half_at(block.d); }
inline Eight mins(const BlockQ4_K& block) { return eight_of(min_bytes(block.scales)) * half_at(block.dmin); }
inline Eight mins(const BlockQ5_K& block) { return eight_of(min_bytes(block.scales)) * half_at(block.dmin); }

// v >> shift, 0 <= shift < 8.
inline uint8x16_t shifted_right(uint8x16_t v, int shift) {
  return vshlq_u8(v, vdupq_n_s8(static_cast<int8_t>(-shift)));
}

inline Run run_of(const BlockQ4_K& block, int r) {
  const uint8_t* q = block.q + r / 2 * 32;
  const uint8x16_t low = load16(q), high = load16(q + 16);
  return r % 2 == 0 ? as_signed(low_nibbles(low), low_nibbles(high)) : as_signed(high_nibbles(low), high_nibbles(high));
}
inline Run run_of(const BlockQ5_K& block, int r) {
  const uint8_t* q = block.q + r / 2 * 32;
  const auto with_fifth = [&](int at) {
    const uint8x16_t both = load16(q + at), nibbles = r % 2 == 0 ? low_nibbles(both) : high_nibbles(both);
    const uint8x16_t is_set = vtstq_u8(load16(block.high + at), vdupq_n_u8(static_cast<uint8_t>(1 << r)));
    return vorrq_u8(nibbles, vandq_u8(is_set, vdupq_n_u8(16)));
  };
  return as_signed(with_fifth(0), with_fifth(16));
}

inline Run run_of(const BlockQ6_K& block, int r) {
  const uint8_t *low = block.low + r / 4 * 64 + r % 2 * 32, *high = block.high + r / 4 * 32;
  const auto six_bits = [&](int at) {
    const uint8x16_t both = load16(low + at), nibbles = r % 4 < 2 ? low_nibbles(both) : high_nibbles(both);
    const uint8x16_t bits = vandq_u8(shifted_right(load16(high + at), r % 4 * 2), vdupq_n_u8(3));
    return vorrq_u8(nibbles, vshlq_n_u8(bits, 4));
  };
  return minus(six_bits(0), six_bits(16), 32);
}
inline int8x16_t steps(const BlockQ6_K& block) { return vld1q_s8(block.scales); }
inline float step_unit(const BlockQ6_K& block) { return half_at(block.d); }

// 16 values of the bit pairs of Q2_K and Q3_K.
inline uint8x16_t bit_pairs(const uint8_t q[64], int r, int at) {
  return vandq_u8(shifted_right(load16(q + r / 4 * 32 + at), r % 4 * 2), vdupq_n_u8(3));
}

inline Run run_of(const BlockQ3_K& block, int r) {
  const auto three_bits = [&](int at) {
    const uint8x16_t third = vandq_u8(shifted_right(load16(block.high + at), r), vdupq_n_u8(1));
    return vorrq_u8(bit_pairs(block.q, r, at), vshlq_n_u8(third, 2));
  };
  return minus(three_bits(0), three_bits(16), 4);
}
inline int8x16_t steps(const BlockQ3_K& block) {
  int8_t unpacked[16];
  unpack_scales_q3_k(block.scales, unpacked);
  return vld1q_s8(unpacked);
}
inline float step_unit(const BlockQ3_K& block) { return half_at(block.d); }

inline Run run_of(const BlockQ2_K& block, int r) {
  return as_signed(bit_pairs(block.q, r, 0), bit_pairs(block.q, r, 16));
}
inline int8x16_t steps(const BlockQ2_K& block) { return as_signed(low_nibbles(load16(block.scales))); }
inline float step_unit(const BlockQ2_K& block) { return half_at(block.d); }
inline int8x16_t min_steps(const BlockQ2_K& block) { return as_signed(high_nibbles(load16(block.scales))); }
inline float min_unit(const BlockQ2_K& block) { return half_at(block.dmin); }

}  // namespace flashmoe::FLASHMOE_ISA
