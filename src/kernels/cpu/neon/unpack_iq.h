// The IQ formats of 256 values unpacked to signed bytes, NEON: functions as in unpack_k.h.
#pragma once

#include "kernels/cpu/neon/unpack_32.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_xs.h"

namespace flashmoe::FLASHMOE_ISA {

inline uint8x16_t two_entries(uint64_t a, uint64_t b) { return vcombine_u8(vcreate_u8(a), vcreate_u8(b)); }

// 4 entries of 8 values: entry(k), k = 0..3.
template <typename Entry>
inline Run four_entries(Entry entry) {
  return as_signed(two_entries(entry(0), entry(1)), two_entries(entry(2), entry(3)));
}
// 8 entries of 4 values.
template <typename Entry>
inline Run eight_entries(Entry entry) {
  return four_entries([&](int k) { return entry(2 * k) | uint64_t{entry(2 * k + 1)} << 32; });
}

// Entries, negative where a bit is set.
inline Run with_signs(const Run& entries, const uint8_t signs[4]) {
  const auto apply = [](int8x16_t entry, const uint8_t bits[2]) {
    const int8x16_t flip = as_signed(bytes_of_bits(bits));
    return vsubq_s8(veorq_s8(entry, flip), flip);
  };
  return {apply(entries.low, signs), apply(entries.high, signs + 2)};
}
// Four times seven sign bits.
template <typename Bits>
inline Run with_even_signs(const Run& entries, Bits bits) {
  const uint8_t signs[4] = {even_signs(bits(0)), even_signs(bits(1)), even_signs(bits(2)), even_signs(bits(3))};
  return with_signs(entries, signs);
}

// 2 n + 1 of the nibbles of 8 bytes, low ones first; what the formats call a scale and a half, doubled.
inline int8x16_t odd_steps(const uint8_t packed[8]) {
  const uint8x8_t both = load8(packed);
  const uint8x8_t low = vand_u8(both, vdup_n_u8(15)), high = vshr_n_u8(both, 4);
  const uint8x16_t nibbles = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
  return as_signed(vaddq_u8(vaddq_u8(nibbles, nibbles), vdupq_n_u8(1)));
}
// unit * (2 n + 1) for n = step(g), g = 0..7.
template <typename Step>
inline Eight odd_scales(float unit, Step step) {
  uint64_t bytes = 0;
  for (int g = 0; g < 8; ++g) bytes |= static_cast<uint64_t>(2 * step(g) + 1) << 8 * g;
  return eight_of(vcreate_u8(bytes)) * unit;
}

inline Run run_of(const BlockIQ2_XXS& block, int r) {
  const uint8_t* q = block.q[r];
  const uint32_t word = word_at(q + 4);
  return with_even_signs(four_entries([&](int k) { return kIq2XxsGrid.entries[q[k]]; }),
                         [&](int k) { return word >> 7 * k & 127; });
}
inline Eight scales(const BlockIQ2_XXS& block) {
  return odd_scales(half_at(block.d) / 8, [&](int g) { return word_at(block.q[g] + 4) >> 28; });
}

inline Run run_of(const BlockIQ2_XS& block, int r) {
  const uint8_t(*q)[2] = block.q + 4 * r;
  return with_even_signs(four_entries([&](int k) { return kIq2XsGrid.entries[load_u16(q[k]) & 511]; }),
                         [&](int k) { return static_cast<uint32_t>(load_u16(q[k]) >> 9); });
}
inline int8x16_t steps(const BlockIQ2_XS& block) { return odd_steps(block.scales); }
inline float step_unit(const BlockIQ2_XS& block) { return half_at(block.d) / 8; }

inline Run run_of(const BlockIQ2_S& block, int r) {
  const uint8_t* q = block.q + 4 * r;
  const int high = block.high[r];
  return with_signs(four_entries([&](int k) { return kIq2SGrid.entries[q[k] | (high << (8 - k * 2) & 0x300)]; }),
                    block.signs + 4 * r);
}
inline int8x16_t steps(const BlockIQ2_S& block) { return odd_steps(block.scales); }
inline float step_unit(const BlockIQ2_S& block) { return half_at(block.d) / 8; }

inline Run run_of(const BlockIQ3_XXS& block, int r) {
  const uint8_t* q = block.q + 8 * r;
  const uint32_t word = word_at(block.words[r]);
  return with_even_signs(eight_entries([&](int k) { return kIq3XxsGrid.entries[q[k]]; }),
                         [&](int k) { return word >> 7 * k & 127; });
}
inline Eight scales(const BlockIQ3_XXS& block) {
  return odd_scales(half_at(block.d) / 4, [&](int g) { return word_at(block.words[g]) >> 28; });
}

inline Run run_of(const BlockIQ3_S& block, int r) {
  const uint8_t* q = block.q + 8 * r;
  const int high = block.high[r];
  return with_signs(eight_entries([&](int k) { return kIq3SGrid.entries[q[k] | (high << (8 - k) & 0x100)]; }),
                    block.signs + 4 * r);
}
inline Eight scales(const BlockIQ3_S& block) {
  return odd_scales(half_at(block.d), [&](int g) { return block.scales[g / 2] >> g % 2 * 4 & 15; });
}

// IQ1's entries are in eighths, and so are their scales.
inline Run run_of(const BlockIQ1_S& block, int r) {
  const uint8_t* q = block.q + 4 * r;
  const uint32_t word = load_u16(block.words[r]);
  const Run entries = four_entries([&](int k) { return kIq1Grid.entries[q[k] | (word >> 3 * k << 8 & 0x700)]; });
  const int8x16_t shift = vdupq_n_s8(word >> 15 != 0 ? -1 : 1);
  return {vaddq_s8(entries.low, shift), vaddq_s8(entries.high, shift)};
}
inline Eight scales(const BlockIQ1_S& block) {
  return odd_scales(half_at(block.d) / 8, [&](int g) { return load_u16(block.words[g]) >> 12 & 7; });
}

inline Run run_of(const BlockIQ1_M& block, int r) {
  const uint8_t* q = block.q + 4 * r;
  const uint32_t high = load_u16(block.high + 2 * r);
  const Run entries = four_entries([&](int k) { return kIq1Grid.entries[q[k] | (high >> 4 * k << 8 & 0x700)]; });
  const auto shift = [&](int k) { return vdup_n_s8((high >> 4 * k & 8) != 0 ? -1 : 1); };
  return {vaddq_s8(entries.low, vcombine_s8(shift(0), shift(1))),
          vaddq_s8(entries.high, vcombine_s8(shift(2), shift(3)))};
}
inline int8x16_t steps(const BlockIQ1_M& block) {
  int8_t unpacked[16];
  for (int g = 0; g < 16; ++g) {
    unpacked[g] = static_cast<int8_t>(2 * (load_u16(block.scales[g / 4]) >> g % 4 * 3 & 7) + 1);
  }
  return vld1q_s8(unpacked);
}
inline float step_unit(const BlockIQ1_M& block) {
  const uint16_t half = iq1_m_scale(block.scales);
  return half_at(reinterpret_cast<const uint8_t*>(&half)) / 8;
}

inline Run run_of(const BlockIQ4_XS& block, int r) { return levels_of(block.q + 16 * r, kIq4Levels); }
inline Eight scales(const BlockIQ4_XS& block) {
  float to[8];
  const uint32_t low = word_at(block.scales_low), high = load_u16(block.scales_high);
  for (int g = 0; g < 8; ++g) {
    to[g] = static_cast<float>(static_cast<int>((low >> 4 * g & 15) | (high >> 2 * g & 3) << 4) - 32);
  }
  return eight_at(to) * half_at(block.d);
}

}  // namespace flashmoe::FLASHMOE_ISA
