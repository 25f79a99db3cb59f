// The IQ formats of 256 values unpacked to bytes, AVX-512.
//
// Codebooks of up to 1024 entries are looked up 64 bytes at a time in their stored form, by permutes over the whole
// table: gathers are microcode on some machines and slowed down by mitigations on others, and entries loaded one by one
// cost more to put together than the permutes. For IQ1's 2048 entries it is the other way round. Values stay in planes
// (Form), so nothing is moved to where it belongs.
#pragma once

#include "kernels/cpu/avx512/unpack_32.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_xs.h"

namespace flashmoe::avx512 {

constexpr Form form_of(const BlockIQ1_S*) { return {Kind::kPlain, 9}; }
constexpr Form form_of(const BlockIQ1_M*) { return {Kind::kFine, 9}; }
constexpr Form form_of(const BlockIQ2_XXS*) { return {Kind::kPlain, 128, Order::kPlanes}; }
constexpr Form form_of(const BlockIQ2_XS*) { return {Kind::kFine, 128, Order::kPlanes}; }
constexpr Form form_of(const BlockIQ2_S*) { return {Kind::kFine, 128, Order::kPlanes}; }
constexpr Form form_of(const BlockIQ3_XXS*) { return {Kind::kPlain, 128, Order::kPlanes}; }
constexpr Form form_of(const BlockIQ3_S*) { return {Kind::kPlain, 128, Order::kPlanes}; }
constexpr Form form_of(const BlockIQ4_XS*) { return {Kind::kPlain, 128, Order::kHalves}; }

constexpr uint64_t kLowNibbles = 0x0f0f0f0f0f0f0f0f;

// A codebook's 16-bit entries: their low bytes, and their high bytes.
template <size_t kEntries>
struct ByteBook {
  alignas(64) uint8_t low[kEntries];
  alignas(64) uint8_t high[kEntries];
};
template <size_t kEntries>
consteval ByteBook<kEntries> byte_book(const uint16_t (&entries)[kEntries]) {
  ByteBook<kEntries> book = {};
  for (size_t i = 0; i < kEntries; ++i) {
    book.low[i] = static_cast<uint8_t>(entries[i] & 255);
    book.high[i] = static_cast<uint8_t>(entries[i] >> 8);
  }
  return book;
}

// Bits 7 and up of 64 indices, as masks.
struct UpperBits {
  __mmask64 bit7, bit8 = 0, bit9 = 0;
};
// 64 bytes out of kBytes.
template <size_t kBytes>
inline __m512i look_up(const uint8_t* bytes, __m512i index, UpperBits upper) {
  if constexpr (kBytes == 128) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(bytes), index, _mm512_load_si512(bytes + 64));
  } else {
    constexpr size_t kHalf = kBytes / 2;
    const __mmask64 bit = kBytes == 256 ? upper.bit7 : kBytes == 512 ? upper.bit8 : upper.bit9;
    return _mm512_mask_blend_epi8(bit, look_up<kHalf>(bytes, index, upper),
                                  look_up<kHalf>(bytes + kHalf, index, upper));
  }
}

// Of 64 bytes: levels[i % kLevels] + 128, so that vpermb ignores the upper bits of its indices.
struct LevelTable {
  alignas(64) uint8_t levels[64];
  operator __m512i() const { return _mm512_load_si512(levels); }
};
template <size_t kCodes, size_t kLevels>
consteval LevelTable level_table(const int8_t (&levels)[kLevels]) {
  LevelTable table = {};
  for (size_t i = 0; i < 64; ++i) {
    table.levels[i] = i % kCodes < kLevels ? static_cast<uint8_t>(levels[i % kCodes] + 128) : uint8_t{0};
  }
  return table;
}
inline __m512i levels_of(const LevelTable& table, __m512i codes) { return _mm512_permutexvar_epi8(codes, table); }

// Byte k / 2 of `bytes` in byte k.
struct TwiceOrder {
  alignas(64) uint8_t from[64];
  operator __m512i() const { return _mm512_load_si512(from); }
};
consteval TwiceOrder twice_order(int first, int stride, int run, int jump) {
  TwiceOrder order = {};
  for (int k = 0; k < 64; ++k) {
    order.from[k] = static_cast<uint8_t>(first + k / 2 % run * stride + k / 2 / run * jump);
  }
  return order;
}
inline constexpr TwiceOrder kTwice = twice_order(0, 1, 32, 0);
inline __m512i twice(__m256i bytes) { return _mm512_permutexvar_epi8(kTwice, _mm512_castsi256_si512(bytes)); }

// Entries of 8 values of 2 bits: two bytes each, and plane p has bits 2 p and 2 p + 1 of every byte.
template <size_t kEntries>
inline void look_up_eights(const ByteBook<kEntries>& book, __m512i index_twice, UpperBits upper, __m512i q[4]) {
  static constexpr LevelTable kTable = level_table<4>(kIq2SLevels);
  const __m512i entries = _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, look_up<kEntries>(book.low, index_twice, upper),
                                                 look_up<kEntries>(book.high, index_twice, upper));
  q[0] = levels_of(kTable, entries);
  for (unsigned p = 1; p < 4; ++p) q[p] = levels_of(kTable, _mm512_srli_epi16(entries, 2 * p));
}
// Entries of 4 values of 4 bits.
template <size_t kEntries>
inline void look_up_fours(const ByteBook<kEntries>& book, const LevelTable& table, __m512i index, UpperBits upper,
                          __m512i q[4]) {
  const __m512i low = look_up<kEntries>(book.low, index, upper), high = look_up<kEntries>(book.high, index, upper);
  q[0] = levels_of(table, low);
  q[1] = levels_of(table, _mm512_srli_epi16(low, 4));
  q[2] = levels_of(table, high);
  q[3] = levels_of(table, _mm512_srli_epi16(high, 4));
}

// Planes of values that are moved by 128, negated where the value's bit is set: 32 bytes, a bit for each value.
inline void set_signs(__m256i signs, __m512i q[4]) {
  const __m512i of_fours = twice(signs);  // low nibble, then high nibble
  for (int p = 0; p < 4; ++p) {
    const __mmask64 negative = _mm512_test_epi8_mask(of_fours, _mm512_set1_epi16(static_cast<int16_t>(0x1001 << p)));
    q[p] = _mm512_mask_sub_epi8(q[p], negative, _mm512_setzero_si512(), q[p]);
  }
}
// even_signs of 32 bytes.
inline __m256i even_signs(__m256i sevens) {
  const __m256i parity = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(parity, _mm256_and_si256(sevens, nibble));
  const __m256i high = _mm256_shuffle_epi8(parity, _mm256_and_si256(_mm256_srli_epi16(sevens, 4), nibble));
  return _mm256_ternarylogic_epi32(sevens, low, high,
                                   0xf6);  // sevens | (low ^ high)
}
// The same of four times 7 bits in each of 8 words of 64 bits, from bit `first`.
inline __m256i even_signs(__m512i words, int first) {
  const __m512i shifts = _mm512_set1_epi64(0x150e0700 + first * 0x01010101);
  const __m512i sevens = _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, words), _mm512_set1_epi8(127));
  return even_signs(_mm512_cvtepi64_epi32(sevens));
}

// Scales for each 32 values out of 8 steps: (step * slope + start) * d.
inline __m256 step_scales(__m256i steps, float slope, float start, float d) {
  const __m256 factors = _mm256_fmadd_ps(_mm256_cvtepi32_ps(steps), _mm256_set1_ps(slope), _mm256_set1_ps(start));
  return _mm256_mul_ps(factors, _mm256_set1_ps(d));
}
// 2 step + 1 for 16 steps, in bytes.
inline __m128i odd_factors(__m128i steps) { return _mm_add_epi8(_mm_add_epi8(steps, steps), _mm_set1_epi8(1)); }
inline __m128i sixteen_nibbles(const uint8_t packed[8]) {
  const uint64_t both = long_at(packed);
  return _mm_unpacklo_epi8(eight_bytes(both & kLowNibbles), eight_bytes(both >> 4 & kLowNibbles));
}

inline Unpacked unpack(const BlockIQ2_XXS* block) {
  static constexpr ByteBook kBook = byte_book(kIq2XxsEntries);
  static constexpr TwiceOrder kIndices = twice_order(0, 1, 4, 8);  // the first four of every eight bytes
  Unpacked to = {};
  const __m512i groups = _mm512_loadu_si512(block->q);
  const __m256i words = _mm512_cvtepi64_epi32(_mm512_srli_epi64(groups, 32));
  to.scale = step_scales(_mm256_srli_epi32(words, 28), 0.25f, 0.125f, half_at(block->d));
  const __m512i index = _mm512_permutexvar_epi8(kIndices, groups);
  look_up_eights(kBook, index, {_mm512_movepi8_mask(index)}, to.q);
  set_signs(even_signs(groups, 32), to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ2_XS* block) {
  static constexpr ByteBook kBook = byte_book(kIq2XsEntries);
  static constexpr TwiceOrder kLow = twice_order(0, 2, 32, 0), kHigh = twice_order(1, 2, 32, 0);
  Unpacked to = {};
  to.fine = odd_factors(sixteen_nibbles(block->scales));
  to.scale = _mm256_set1_ps(half_at(block->d) * 0.125f);
  const __m512i words = _mm512_loadu_si512(block->q);
  const __m512i index = _mm512_permutexvar_epi8(kLow, words), high = _mm512_permutexvar_epi8(kHigh, words);
  look_up_eights(kBook, index, {_mm512_movepi8_mask(index), _mm512_test_epi8_mask(high, _mm512_set1_epi8(1))}, to.q);
  set_signs(even_signs(_mm512_cvtepi16_epi8(_mm512_srli_epi16(words, 9))), to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ2_S* block) {
  static constexpr ByteBook kBook = byte_book(kIq2SEntries);
  static constexpr TwiceOrder kBytes = twice_order(0, 0, 4, 1);  // a byte has two bits of each of four entries
  Unpacked to = {};
  to.fine = odd_factors(sixteen_nibbles(block->scales));
  to.scale = _mm256_set1_ps(half_at(block->d) * 0.125f);
  const __m512i index = twice(load32(block->q));
  const __m512i pairs = _mm512_permutexvar_epi8(kBytes, _mm512_castsi128_si512(eight_bytes(long_at(block->high))));
  const __m512i bit = _mm512_set1_epi64(0x4040101004040101);
  look_up_eights(kBook, index,
                 {_mm512_movepi8_mask(index), _mm512_test_epi8_mask(pairs, bit),
                  _mm512_test_epi8_mask(pairs, _mm512_slli_epi64(bit, 1))},
                 to.q);
  set_signs(load32(block->signs), to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ3_XXS* block) {
  static constexpr ByteBook kBook = byte_book(kIq3XxsEntries);
  static constexpr LevelTable kTable = level_table<16>(kIq3XxsLevels);
  Unpacked to = {};
  const __m256i words = load32(block->words);
  to.scale = step_scales(_mm256_srli_epi32(words, 28), 0.5f, 0.25f, half_at(block->d));
  const __m512i index = _mm512_loadu_si512(block->q);
  look_up_fours(kBook, kTable, index, {_mm512_movepi8_mask(index)}, to.q);
  set_signs(even_signs(_mm512_cvtepu32_epi64(words), 0), to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ3_S* block) {
  static constexpr ByteBook kBook = byte_book(kIq3SEntries);
  static constexpr LevelTable kTable = level_table<16>(kIq3SLevels);
  Unpacked to = {};
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(_pdep_u64(word_at(block->scales), kLowNibbles)));
  to.scale = step_scales(steps, 2, 1, half_at(block->d));
  const __m512i index = _mm512_loadu_si512(block->q);
  look_up_fours(kBook, kTable, index, {_mm512_movepi8_mask(index), long_at(block->high)}, to.q);
  set_signs(load32(block->signs), to.q);
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
// Moved by the offset and one: one down where `down` is set, else one up.
inline __m512i move_by_one(__m512i entries, uint64_t down) {
  const __m512i up = _mm512_add_epi8(entries, _mm512_set1_epi8(10));
  return _mm512_mask_add_epi8(up, down, entries, _mm512_set1_epi8(8));
}

inline Unpacked unpack(const BlockIQ1_S* block) {
  Unpacked to = {};
  const __m128i words = load16(block->words);
  const __m256i wide = _mm256_cvtepu16_epi32(words);
  const __m256i steps = _mm256_and_si256(_mm256_srli_epi32(wide, 12), _mm256_set1_epi32(7));
  to.scale = step_scales(steps, 0.25f, 0.125f, half_at(block->d));
  // Word k / 4 in lane k.
  const __m512i lanes = _mm512_mullo_epi64(_mm512_cvtepu16_epi64(words), _mm512_set1_epi64(0x0001000100010001));
  expand_iq1(block->q, lanes, _mm512_set1_epi64(0x0009000600030000), to.q);
  const auto down = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))));
  for (int g = 0; g < 4; ++g) {
    to.q[g] = move_by_one(to.q[g], _pdep_u64(down >> 2 * g, 0x0000000100000001) * 0xffffffff);
  }
  return to;
}

inline Unpacked unpack(const BlockIQ1_M* block) {
  Unpacked to = {};
  const uint64_t scales = long_at(block->scales[0]), steps = _pext_u64(scales, 0x0fff0fff0fff0fff);
  constexpr uint64_t kThrees = 0x0707070707070707;
  const __m128i bytes = sixteen_bytes(_pdep_u64(steps, kThrees), _pdep_u64(steps >> 24, kThrees));
  const float d = _cvtsh_ss(static_cast<uint16_t>(_pext_u64(scales, 0xf000f000f000f000)));
  to.fine = odd_factors(bytes);
  to.scale = _mm256_set1_ps(d * 0.125f);
  // Byte k / 2 of `high` in lane k.
  const __m512i wide = _mm512_cvtepu8_epi32(load16(block->high));
  const __m512i lanes = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
  expand_iq1(block->q, lanes, _mm512_set1_epi32(0x00040000), to.q);
  for (int g = 0; g < 4; ++g) {
    const uint64_t nibbles = _pdep_u64(word_at(block->high + 4 * g), kLowNibbles);
    to.q[g] = move_by_one(to.q[g], (nibbles >> 3 & 0x0101010101010101) * 255);
  }
  return to;
}

inline Unpacked unpack(const BlockIQ4_XS* block) {
  Unpacked to = {};
  const uint64_t low = _pdep_u64(word_at(block->scales_low), kLowNibbles);
  const uint64_t high = _pdep_u64(load_u16(block->scales_high), 0x0303030303030303);
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(low | high << 4));
  to.scale = step_scales(steps, 1, -32, half_at(block->d));
  const __m512i nibble = _mm512_set1_epi8(15);
  for (int half = 0; half < 2; ++half) {
    const __m512i both = _mm512_loadu_si512(block->q + 64 * half);
    to.q[2 * half] = _mm512_and_si512(both, nibble);
    to.q[2 * half + 1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
  }
  look_up_levels(kIq4Levels, to.q);
  return to;
}

}  // namespace flashmoe::avx512
