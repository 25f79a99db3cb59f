// The IQ formats of 256 values unpacked to bytes, AVX-512.
//
// Codebooks of up to 1024 entries are looked up 32 at a time in their stored form, two bytes an entry, by permutes over
// the whole table: gathers are microcode on some machines and slowed down by mitigations on others, and entries loaded
// one by one cost more to put together than the permutes. For IQ1's 2048 entries it is the other way round.
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

// 32 entries of a codebook of kEntries.
template <int kEntries>
inline __m512i look_up(const uint16_t* book, __m512i index) {
  if constexpr (kEntries == 64) {
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(book), index, _mm512_loadu_si512(book + 32));
  } else {
    constexpr int kHalf = kEntries / 2;
    const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16(kHalf));
    return _mm512_mask_blend_epi16(upper, look_up<kHalf>(book, index), look_up<kHalf>(book + kHalf, index));
  }
}
template <int kEntries>
inline __m512i look_up(const uint16_t (&book)[kEntries], __m512i index) {
  return look_up<kEntries>(static_cast<const uint16_t*>(book), index);
}

// The levels of a codebook, for vpshufb.
struct LevelTable {
  alignas(16) int8_t levels[16];
  operator __m512i() const { return _mm512_broadcast_i32x4(load16(levels)); }
};
template <size_t kLevels>
consteval LevelTable level_table(const int8_t (&levels)[kLevels]) {
  LevelTable table = {};
  for (size_t i = 0; i < kLevels; ++i) table.levels[i] = levels[i];
  return table;
}
inline constexpr LevelTable kIq2Table = level_table(kIq2SLevels);
inline constexpr LevelTable kIq3XxsTable = level_table(kIq3XxsLevels), kIq3STable = level_table(kIq3SLevels);

// 32 entries of 8 values of 2 bits.
inline void expand_eights(__m512i entries, __m512i levels, __m512i q[4]) {
  alignas(64) uint16_t stored[32];
  _mm512_store_si512(stored, entries);
  const __m512i shifts = _mm512_set1_epi64(0x0e0c0a0806040200);
  for (int g = 0; g < 4; ++g) {
    const __m512i bits = _mm512_multishift_epi64_epi8(shifts, _mm512_cvtepu16_epi64(load16(stored + 8 * g)));
    q[g] = _mm512_shuffle_epi8(levels, _mm512_and_si512(bits, _mm512_set1_epi8(3)));
  }
}
// 32 entries of 4 values of 4 bits.
inline void expand_fours(__m512i entries, __m512i levels, __m512i q[2]) {
  alignas(64) uint16_t stored[32];
  _mm512_store_si512(stored, entries);
  const __m512i shifts = _mm512_set1_epi64(0x2c2824200c080400);
  for (int g = 0; g < 2; ++g) {
    const __m512i bits = _mm512_multishift_epi64_epi8(shifts, _mm512_cvtepu16_epi32(load32(stored + 16 * g)));
    q[g] = _mm512_shuffle_epi8(levels, _mm512_and_si512(bits, _mm512_set1_epi8(15)));
  }
}

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

inline MaskedWeights unpack(const BlockIQ2_XXS& block) {
  MaskedWeights to;
  const __m512i groups = _mm512_loadu_si512(block.q);
  const __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(groups, 32));
  to.scale = step_scales(_mm256_srli_epi32(words, 28), 0.25f, 0.125f, half_at(block.d));
  const __m512i index = _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(groups));
  expand_eights(look_up(kIq2XxsEntries, index), kIq2Table, to.q);
  for (int g = 0; g < 4; ++g) {
    to.negative[g] = even_signs(word_at(block.q[2 * g] + 4), word_at(block.q[2 * g + 1] + 4));
  }
  return to;
}

inline MaskedWeights unpack(const BlockIQ2_XS& block) {
  MaskedWeights to;
  to.scale = step_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d));
  const __m512i words = _mm512_loadu_si512(block.q);  // look_up takes the lower bits
  expand_eights(look_up(kIq2XsEntries, words), kIq2Table, to.q);
  alignas(32) uint64_t sevens[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(sevens), _mm512_cvtepi16_epi8(_mm512_srli_epi16(words, 9)));
  for (int g = 0; g < 4; ++g) to.negative[g] = even_signs(sevens[g]);
  return to;
}

inline MaskedWeights unpack(const BlockIQ2_S& block) {
  MaskedWeights to;
  to.scale = step_scales(sixteen_nibbles(block.scales), 0.25f, 0.125f, half_at(block.d));
  // Byte k / 4 of `high` in lane k, its two bits moved to 8 and 9.
  const __m512i bytes = _mm512_cvtepu8_epi64(eight_bytes(long_at(block.high)));
  const __m512i lanes =
      _mm512_shuffle_epi8(bytes, _mm512_set4_epi32(static_cast<int>(0x80088008), static_cast<int>(0x80088008),
                                                   static_cast<int>(0x80008000), static_cast<int>(0x80008000)));
  const __m512i upper = _mm512_sllv_epi16(lanes, _mm512_set1_epi64(0x0002000400060008));
  const __m512i low = _mm512_cvtepu8_epi16(load32(block.q));
  const __m512i index = _mm512_or_si512(low, _mm512_and_si512(upper, _mm512_set1_epi16(0x300)));
  expand_eights(look_up(kIq2SEntries, index), kIq2Table, to.q);
  for (int g = 0; g < 4; ++g) to.negative[g] = long_at(block.signs + 8 * g);
  return to;
}

inline MaskedWeights unpack(const BlockIQ3_XXS& block) {
  MaskedWeights to;
  to.scale = step_scales(_mm256_srli_epi32(load32(block.words), 28), 0.5f, 0.25f, half_at(block.d));
  for (int half = 0; half < 2; ++half) {
    const __m512i index = _mm512_cvtepu8_epi16(load32(block.q + 32 * half));
    expand_fours(look_up(kIq3XxsEntries, index), kIq3XxsTable, to.q + 2 * half);
  }
  for (int g = 0; g < 4; ++g) {
    to.negative[g] = even_signs(word_at(block.words[2 * g]), word_at(block.words[2 * g + 1]));
  }
  return to;
}

inline MaskedWeights unpack(const BlockIQ3_S& block) {
  MaskedWeights to;
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(_pdep_u64(word_at(block.scales), kLowNibbles)));
  to.scale = step_scales(steps, 2, 1, half_at(block.d));
  for (int half = 0; half < 2; ++half) {
    const __m512i low = _mm512_cvtepu8_epi16(load32(block.q + 32 * half));
    const __m512i index = _mm512_mask_add_epi16(low, word_at(block.high + 4 * half), low, _mm512_set1_epi16(0x100));
    expand_fours(look_up(kIq3SEntries, index), kIq3STable, to.q + 2 * half);
  }
  for (int g = 0; g < 4; ++g) to.negative[g] = long_at(block.signs + 8 * g);
  return to;
}

// Entries of 11 bits out of their low bytes and, in each lane, their upper three bits at `shift`; in eighths.
inline void expand_iq1(const uint8_t q[32], __m512i lanes, __m512i shift, __m512i to[4]) {
  const __m512i upper = _mm512_and_si512(_mm512_srlv_epi16(lanes, shift), _mm512_set1_epi16(7));
  alignas(64) uint16_t index[32];
  _mm512_store_si512(index, _mm512_or_si512(_mm512_cvtepu8_epi16(load32(q)), _mm512_slli_epi16(upper, 8)));
  for (int g = 0; g < 4; ++g) {
    const auto entry = [&](int k) { return static_cast<long long>(kIq1Grid.entries[index[8 * g + k]]); };
    to[g] = _mm512_set_epi64(entry(7), entry(6), entry(5), entry(4), entry(3), entry(2), entry(1), entry(0));
  }
}
// Moved by one: down where `down` is set.
inline __m512i move_by_one(__m512i entries, uint64_t down) {
  const __m512i up = _mm512_add_epi8(entries, _mm512_set1_epi8(1));
  return _mm512_mask_sub_epi8(up, down, entries, _mm512_set1_epi8(1));
}

inline SignedWeights unpack(const BlockIQ1_S& block) {
  SignedWeights to;
  const __m128i words = load16(block.words);
  const __m256i wide = _mm256_cvtepu16_epi32(words);
  const __m256i steps = _mm256_and_si256(_mm256_srli_epi32(wide, 12), _mm256_set1_epi32(7));
  to.scale = step_scales(steps, 0.25f, 0.125f, half_at(block.d));
  // Word k / 4 in lane k.
  const __m512i lanes = _mm512_mullo_epi64(_mm512_cvtepu16_epi64(words), _mm512_set1_epi64(0x0001000100010001));
  expand_iq1(block.q, lanes, _mm512_set1_epi64(0x0009000600030000), to.q);
  const auto down = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))));
  for (int g = 0; g < 4; ++g) {
    to.q[g] = move_by_one(to.q[g], _pdep_u64(down >> 2 * g, 0x0000000100000001) * 0xffffffff);
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
  // Byte k / 2 of `high` in lane k.
  const __m512i wide = _mm512_cvtepu8_epi32(load16(block.high));
  const __m512i lanes = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
  expand_iq1(block.q, lanes, _mm512_set1_epi32(0x00040000), to.q);
  for (int g = 0; g < 4; ++g) {
    const uint64_t nibbles = _pdep_u64(word_at(block.high + 4 * g), kLowNibbles);
    to.q[g] = move_by_one(to.q[g], (nibbles >> 3 & 0x0101010101010101) * 255);
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
