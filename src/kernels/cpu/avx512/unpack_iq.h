// The IQ formats of 256 values unpacked to bytes, AVX-512.
//
// Codebook entries are loaded one by one: gathers are microcode on some machines and slowed down by mitigations on
// others.
#pragma once

#include "kernels/cpu/avx512/int8_dot.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_xs.h"

namespace flashmoe::avx512 {

constexpr uint64_t kLowNibbles = 0x0f0f0f0f0f0f0f0f;

// 8 entries of 8 values: entry(k), k = 0..7.
template <typename Entry>
inline __m512i eight_entries(Entry entry) {
  const auto at = [&](int k) { return static_cast<long long>(entry(k)); };
  return _mm512_set_epi64(at(7), at(6), at(5), at(4), at(3), at(2), at(1), at(0));
}
// 16 entries of 4 values.
template <typename Entry>
inline __m512i sixteen_entries(Entry entry) {
  return eight_entries([&](int k) { return entry(2 * k) | static_cast<uint64_t>(entry(2 * k + 1)) << 32; });
}

inline __m512i negate(__m512i q, uint64_t signs) { return _mm512_mask_sub_epi8(q, signs, _mm512_setzero_si512(), q); }

// even_signs of 8 bytes at once.
inline uint64_t even_signs(uint64_t sevens) {
  uint64_t parity = sevens ^ sevens >> 4;  // only the lowest bit of each byte is used
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return sevens | (parity & 0x0101010101010101) << 7;
}
// The signs of two groups of 32 values, each 28 bits of a word.
inline uint64_t even_signs(uint32_t first, uint32_t second) {
  const uint64_t bits = (first & 0xfffffffu) | static_cast<uint64_t>(second & 0xfffffffu) << 28;
  return even_signs(_pdep_u64(bits, 0x7f7f7f7f7f7f7f7f));
}

// Scales for each 16 values, out of 16 steps or 8 steps of 32 values: (step * slope + start) * d.
inline __m512 step_scales(__m512i steps, float slope, float start, float d) {
  const __m512 factors = _mm512_fmadd_ps(_mm512_cvtepi32_ps(steps), _mm512_set1_ps(slope), _mm512_set1_ps(start));
  return _mm512_mul_ps(factors, _mm512_set1_ps(d));
}
inline __m512 step_scales(__m256i steps, float slope, float start, float d) {
  return spread(step_scales(_mm512_zextsi256_si512(steps), slope, start, d), 0, 2);
}
inline __m512i sixteen_nibbles(const uint8_t packed[8]) {
  const uint64_t both = long_at(packed);
  const __m128i low = eight_bytes(both & kLowNibbles), high = eight_bytes(both >> 4 & kLowNibbles);
  return _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(low, high));
}

inline SignedWeights unpack(const BlockIQ2_XXS& block) {
  SignedWeights to;
  const __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_loadu_si512(block.q), 32));
  to.scale = step_scales(_mm256_srli_epi32(words, 28), 0.25f, 0.125f, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t(*q)[8] = block.q + 2 * g;
    const __m512i entries = eight_entries([&](int k) { return kIq2XxsGrid.entries[q[k / 4][k % 4]]; });
    to.q[g] = negate(entries, even_signs(word_at(q[0] + 4), word_at(q[1] + 4)));
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ2_XS& block) {
  SignedWeights to;
  to.scale = step_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t(*q)[2] = block.q + 8 * g;
    const __m512i entries = eight_entries([&](int k) { return kIq2XsGrid.entries[load_u16(q[k]) & 511]; });
    const __m128i sevens = _mm_srli_epi16(load16(q), 9);
    const auto packed = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(sevens, sevens)));
    to.q[g] = negate(entries, even_signs(packed));
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ2_S& block) {
  SignedWeights to;
  to.scale = step_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t *q = block.q + 8 * g, *high = block.high + 2 * g;
    const __m512i entries =
        eight_entries([&](int k) { return kIq2SGrid.entries[q[k] | (high[k / 4] << (8 - k % 4 * 2) & 0x300)]; });
    to.q[g] = negate(entries, long_at(block.signs + 8 * g));
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ3_XXS& block) {
  SignedWeights to;
  to.scale = step_scales(_mm256_srli_epi32(load32(block.words), 28), 0.5f, 0.25f, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t* q = block.q + 16 * g;
    const __m512i entries = sixteen_entries([&](int k) { return kIq3XxsGrid.entries[q[k]]; });
    to.q[g] = negate(entries, even_signs(word_at(block.words[2 * g]), word_at(block.words[2 * g + 1])));
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ3_S& block) {
  SignedWeights to;
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(_pdep_u64(word_at(block.scales), kLowNibbles)));
  to.scale = step_scales(steps, 2, 1, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t *q = block.q + 16 * g, *high = block.high + 2 * g;
    const __m512i entries =
        sixteen_entries([&](int k) { return kIq3SGrid.entries[q[k] | (high[k / 8] << (8 - k % 8) & 0x100)]; });
    to.q[g] = negate(entries, long_at(block.signs + 8 * g));
  }
  set_starts(to);
  return to;
}

// Entries in eighths, moved by one: down where `down` is set.
inline __m512i move_by_one(__m512i entries, uint64_t down) {
  const __m512i up = _mm512_add_epi8(entries, _mm512_set1_epi8(1));
  return _mm512_mask_sub_epi8(up, down, entries, _mm512_set1_epi8(1));
}

inline SignedWeights unpack(const BlockIQ1_S& block) {
  SignedWeights to;
  const __m256i words = _mm256_cvtepu16_epi32(load16(block.words));
  const __m256i steps = _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7));
  to.scale = step_scales(steps, 0.25f, 0.125f, half_at(block.d));
  for (int g = 0; g < 4; ++g) {
    const uint8_t* q = block.q + 8 * g;
    const uint32_t first = load_u16(block.words[2 * g]), second = load_u16(block.words[2 * g + 1]);
    const __m512i entries = eight_entries(
        [&](int k) { return kIq1Grid.entries[q[k] | ((k < 4 ? first : second) >> k % 4 * 3 << 8 & 0x700)]; });
    const uint64_t down = (0 - static_cast<uint64_t>(first >> 15)) >> 32 | (0 - static_cast<uint64_t>(second >> 15))
                                                                               << 32;
    to.q[g] = move_by_one(entries, down);
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ1_M& block) {
  SignedWeights to;
  const uint64_t scales = long_at(block.scales[0]), steps = _pext_u64(scales, 0x0fff0fff0fff0fff);
  constexpr uint64_t kThrees = 0x0707070707070707;
  const __m128i bytes = sixteen_bytes(_pdep_u64(steps, kThrees), _pdep_u64(steps >> 24, kThrees));
  const float d = _cvtsh_ss(static_cast<uint16_t>(_pext_u64(scales, 0xf000f000f000f000)));
  to.scale = step_scales(_mm512_cvtepu8_epi32(bytes), 0.25f, 0.125f, d);
  for (int g = 0; g < 4; ++g) {
    const uint8_t *q = block.q + 8 * g, *high = block.high + 4 * g;
    const __m512i entries =
        eight_entries([&](int k) { return kIq1Grid.entries[q[k] | (high[k / 2] << (8 - k % 2 * 4) & 0x700)]; });
    const uint64_t nibbles = _pdep_u64(word_at(high), kLowNibbles);
    to.q[g] = move_by_one(entries, (nibbles >> 3 & 0x0101010101010101) * 255);
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockIQ4_XS& block) {
  SignedWeights to;
  const uint64_t low = _pdep_u64(word_at(block.scales_low), kLowNibbles);
  const uint64_t high = _pdep_u64(load_u16(block.scales_high), 0x0303030303030303);
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(low | high << 4));
  to.scale = step_scales(steps, 1, -32, half_at(block.d));
  const __m512i levels = _mm512_broadcast_i32x4(load16(kIq4Levels));
  const __m512i shift =
      _mm512_setr_epi64(0, 0, 0x4000400040004, 0x4000400040004, 0, 0, 0x4000400040004, 0x4000400040004);
  for (int g = 0; g < 4; ++g) {  // low and high nibbles of 16 bytes, twice
    const __m512i twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                                                   _mm512_castsi256_si512(load32(block.q + 32 * g)));
    const __m512i nibbles = _mm512_and_si512(_mm512_srlv_epi16(twice, shift), _mm512_set1_epi8(15));
    to.q[g] = _mm512_shuffle_epi8(levels, nibbles);
  }
  set_starts(to);
  return to;
}

}  // namespace flashmoe::avx512
