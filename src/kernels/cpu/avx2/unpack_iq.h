// The codebooks of 256 values unpacked to bytes, AVX2: signed_run(block, r) is values [32 r, 32 r + 32), and
// group_scales(block, to) the scales of the 16 groups of 16 values.
//
// Codebook entries are loaded one by one: gathers are microcode on some machines and slowed down by mitigations on
// others.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"

namespace flashmoe::FLASHMOE_ISA {

constexpr uint64_t kLowNibbles = 0x0f0f0f0f0f0f0f0f;

// 4 entries of 8 values: entry(k), k = 0..3.
template <typename Entry>
inline __m256i four_entries(Entry entry) {
  const auto at = [&](int k) { return static_cast<long long>(entry(k)); };
  return _mm256_set_epi64x(at(3), at(2), at(1), at(0));
}
// 8 entries of 4 values.
template <typename Entry>
inline __m256i eight_entries(Entry entry) {
  const auto at = [&](int k) { return static_cast<int>(entry(k)); };
  return _mm256_set_epi32(at(7), at(6), at(5), at(4), at(3), at(2), at(1), at(0));
}

// Entries, and a bit for each value that is negative.
inline SignedBytes with_signs(__m256i magnitude, uint32_t signs) {
  return {magnitude, _mm256_or_si256(bytes_of_bits(signs), _mm256_set1_epi8(1))};
}

// even_signs of 4 bytes at once.
inline uint32_t four_even_signs(uint32_t sevens) {
  uint32_t parity = sevens ^ sevens >> 4;  // only the lowest bit of each byte is used
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return sevens | (parity & 0x01010101) << 7;
}
// The signs of 32 values out of the low 28 bits of a word.
inline uint32_t signs_of_word(uint32_t word) {
  return four_even_signs((word & 0x7f) | (word << 1 & 0x7f00) | (word << 2 & 0x7f0000) | (word << 3 & 0x7f000000));
}

// Bytes out of nibbles, the low one first.
inline __m128i sixteen_nibbles(const uint8_t packed[8]) {
  const uint64_t both = long_at(packed);
  return _mm_unpacklo_epi8(eight_bytes(both & kLowNibbles), eight_bytes(both >> 4 & kLowNibbles));
}
inline __m128i eight_nibbles(const uint8_t packed[4]) {
  const uint64_t both = word_at(packed);
  return _mm_unpacklo_epi8(eight_bytes(both & kLowNibbles), eight_bytes(both >> 4 & kLowNibbles));
}

inline SignedBytes signed_run(const BlockIQ2_XXS& block, int run) {
  const uint8_t* q = block.q[run];
  return with_signs(four_entries([&](int k) { return kIq2XxsGrid.entries[q[k]]; }), signs_of_word(word_at(q + 4)));
}
inline void group_scales(const BlockIQ2_XXS& block, float to[16]) {
  const __m256 low = _mm256_castsi256_ps(load32(block.q)), high = _mm256_castsi256_ps(load32(block.q + 4));
  // Odd words of both; the shuffle leaves pairs as 0 1 4 5 | 2 3 6 7.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd)), 0xd8);
  store_scales(_mm256_srli_epi32(words, 28), 0.25f, 0.125f, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ2_XS& block, int run) {
  const uint8_t(*q)[2] = block.q + 4 * run;
  const __m128i sevens = _mm_srli_epi16(eight_bytes(long_at(q[0])), 9);
  const auto packed = static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_packus_epi16(sevens, sevens)));
  return with_signs(four_entries([&](int k) { return kIq2XsGrid.entries[load_u16(q[k]) & 511]; }),
                    four_even_signs(packed));
}
inline void group_scales(const BlockIQ2_XS& block, float to[16]) {
  store_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ2_S& block, int run) {
  const uint8_t* q = block.q + 4 * run;
  const int high = block.high[run];
  const __m256i entries = four_entries([&](int k) { return kIq2SGrid.entries[q[k] | (high << (8 - k * 2) & 0x300)]; });
  return with_signs(entries, word_at(block.signs + 4 * run));
}
inline void group_scales(const BlockIQ2_S& block, float to[16]) {
  store_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ3_XXS& block, int run) {
  const uint8_t* q = block.q + 8 * run;
  const __m256i entries = eight_entries([&](int k) { return kIq3XxsGrid.entries[q[k]]; });
  return with_signs(entries, signs_of_word(word_at(block.words[run])));
}
inline void group_scales(const BlockIQ3_XXS& block, float to[16]) {
  store_scales(_mm256_srli_epi32(load32(block.words), 28), 0.5f, 0.25f, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ3_S& block, int run) {
  const __m128i bit = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
  const __m128i set = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16(block.high[run]), bit), bit);
  const __m128i low = _mm_cvtepu8_epi16(eight_bytes(long_at(block.q + 8 * run)));
  alignas(16) uint16_t index[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(index), _mm_or_si128(low, _mm_and_si128(set, _mm_set1_epi16(0x100))));
  return with_signs(eight_entries([&](int k) { return kIq3SGrid.entries[index[k]]; }), word_at(block.signs + 4 * run));
}
inline void group_scales(const BlockIQ3_S& block, float to[16]) {
  store_scales(_mm256_cvtepu8_epi32(eight_nibbles(block.scales)), 2, 1, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ1_S& block, int run) {
  const uint8_t* q = block.q + 4 * run;
  const uint32_t word = load_u16(block.words[run]);
  const __m256i entries = four_entries([&](int k) { return kIq1Grid.entries[q[k] | (word >> 3 * k << 8 & 0x700)]; });
  return signed_bytes_of(_mm256_add_epi8(entries, _mm256_set1_epi8(word >> 15 != 0 ? -1 : 1)));
}
inline void group_scales(const BlockIQ1_S& block, float to[16]) {
  const __m256i words = _mm256_cvtepu16_epi32(load16(block.words));
  const __m256i steps = _mm256_and_si256(_mm256_srli_epi32(words, 12), _mm256_set1_epi32(7));
  store_scales(steps, 0.25f, 0.125f, half_at(block.d), to);
}

inline SignedBytes signed_run(const BlockIQ1_M& block, int run) {
  const uint8_t* q = block.q + 4 * run;
  const uint32_t high = load_u16(block.high + 2 * run);
  const __m256i entries = four_entries([&](int k) { return kIq1Grid.entries[q[k] | (high >> 4 * k << 8 & 0x700)]; });
  // Bit 3 of each nibble: 0 or -2 in each of its 8 bytes.
  const __m256i nibbles =
      _mm256_srlv_epi64(_mm256_set1_epi64x(static_cast<long long>(high)), _mm256_setr_epi64x(0, 4, 8, 12));
  const __m256i is_down = _mm256_cmpeq_epi64(_mm256_and_si256(nibbles, _mm256_set1_epi64x(8)), _mm256_set1_epi64x(8));
  return signed_bytes_of(_mm256_add_epi8(entries, _mm256_or_si256(is_down, _mm256_set1_epi8(1))));
}
inline void group_scales(const BlockIQ1_M& block, float to[16]) {
  const uint64_t scales = long_at(block.scales[0]), steps = _pext_u64(scales, 0x0fff0fff0fff0fff);
  constexpr uint64_t kThrees = 0x0707070707070707;
  const float d = _cvtsh_ss(static_cast<uint16_t>(_pext_u64(scales, 0xf000f000f000f000)));
  store_scales(sixteen_bytes(_pdep_u64(steps, kThrees), _pdep_u64(steps >> 24, kThrees)), 0.25f, 0.125f, d, to);
}

}  // namespace flashmoe::FLASHMOE_ISA
