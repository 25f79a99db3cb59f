// Codebook formats unpacked to bytes 512 values at a time, AVX-512: for few rows of activations.
//
// With 64 indices of 8 values at once no look-up is done for bytes that are not kept, and the planes (unpack_iq.h) of
// two blocks of 256 add up to sums of 32 values in 16 lanes, which need no shuffles and whose scales fill a register
// (docs/experiments/0029-formats-that-wait-for-arithmetic.md).
#pragma once

#include "kernels/cpu/avx512/unpack_iq.h"

namespace flashmoe::avx512 {

// Words 2 k, and 2 k + 1, of two times 64 bytes.
struct WordPairs {
  __m512i even, odd;
  WordPairs(const void* a, const void* b) {
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    __m512i first = _mm512_loadu_si512(a), second = _mm512_loadu_si512(b);
    asm("" : "+v"(first), "+v"(second));  // GCC would load both once more, across lines
    even = _mm512_permutex2var_epi32(first, evens, second);
    odd = _mm512_permutex2var_epi32(first, odds, second);
  }
};
inline __m512i both_load32(const void* a, const void* b) { return pair(load32(a), load32(b)); }

// The f16 at the start of `a` in lanes 0 to 7, of `b` in the others. Broadcasts of words out of memory take another
// instruction inside the processor, those of twice as much do not.
template <typename Block>
inline __m512 halves_of_two(const Block* a, const Block* b) {
  static_assert(offsetof(Block, d) == 0);
  int32_t first, second;
  __builtin_memcpy(&first, static_cast<const void*>(a), sizeof(first));
  __builtin_memcpy(&second, static_cast<const void*>(b), sizeof(second));
  const __m256i both = _mm256_mask_set1_epi32(_mm256_set1_epi32(first), 0xf0, second);
  return _mm512_moveldup_ps(_mm512_cvtph_ps(both));
}
inline __m512 step_scales(__m512i steps, float slope, float start, __m512 d) {
  const __m512 scaled = _mm512_fmadd_ps(_mm512_cvtepi32_ps(steps), _mm512_set1_ps(slope), _mm512_set1_ps(start));
  return _mm512_mul_ps(scaled, d);
}
// 2 step + 1 of the steps of kBits bits at bit kAt of 16 words.
template <int kAt, int kBits>
inline __m512i odd_factors(__m512i words) {
  const __m512i twice = kAt == 0 ? _mm512_slli_epi32(words, 1) : _mm512_srli_epi32(words, kAt == 0 ? 0 : kAt - 1);
  constexpr int kField = ((1 << kBits) - 1) << 1;
  return _mm512_ternarylogic_epi32(twice, _mm512_set1_epi32(kField), _mm512_set1_epi32(1), 0xea);
}
// The steps of IQ2_XS and IQ2_S: a byte for each block of 32, the first half's nibble low.
template <typename Block>
inline void unpack_nibble_factors(const Block* a, const Block* b, UnpackedPair& to) {
  const __m512i steps = _mm512_cvtepu8_epi32(sixteen_bytes(long_at(a->scales), long_at(b->scales)));
  to.fine[0] = odd_factors<0, 4>(steps);
  to.fine[1] = odd_factors<4, 4>(steps);
  to.scale = _mm512_mul_ps(halves_of_two(a, b), _mm512_set1_ps(0.125f));
}

// IQ1 in eighths, moved by one up, or down where the bit is set that is a sign in IQ2; plus the offset, 9.
consteval PlaneTables moved_planes() {
  PlaneTables tables = {};
  for (int p = 0; p < 4; ++p) {
    for (int i = 0; i < 64; ++i) {
      const int code = i >> kEights[p].code_at & 3, level = code < 3 ? 8 * kIq1Levels[code] : 0;
      tables.of[p].from[i] = static_cast<uint8_t>(9 + level + ((i >> kEights[p].sign_at & 1) != 0 ? -1 : 1));
    }
  }
  return tables;
}
inline constexpr PlaneTables kIq1Planes = moved_planes();

// The signs of the first or of the last four of each 8 values to where the planes have them.
template <const SignBits& kBits, int kHalf>
inline __m512i half_signs(__m512i bytes) {
  return _mm512_gf2p8affine_epi64_epi8(bytes, _mm512_set1_epi64(sign_map(kBits, kHalf, kEights)), 0);
}

template <const auto& kBook, const auto& kTables>
inline void look_up_eights(__m512i index, UpperBits upper, __m512i first_signs, __m512i second_signs, __m512i q[8]) {
  constexpr size_t kEntries = sizeof(kBook.low);
  levels_of_eights<kTables>(look_up<kEntries>(kBook.low, index, upper), first_signs, q);
  levels_of_eights<kTables>(look_up<kEntries>(kBook.high, index, upper), second_signs, q + 4);
}
// The same for indices in the order of kHalfWords.
template <const auto& kBook, const auto& kTables>
inline void look_up_halves(__m512i index, UpperBits upper, __m512i first_signs, __m512i second_signs, __m512i q[8]) {
  constexpr size_t kEntries = sizeof(kBook.low);
  const __m512i low = look_up<kEntries>(kBook.low, index, upper), high = look_up<kEntries>(kBook.high, index, upper);
  levels_of_eights<kTables>(_mm512_unpacklo_epi16(low, high), _mm512_unpacklo_epi16(first_signs, second_signs), q);
  levels_of_eights<kTables>(_mm512_unpackhi_epi16(low, high), _mm512_unpackhi_epi16(first_signs, second_signs), q + 4);
}
// The words (two indices) of four blocks in a lane: of all the first halves, then of the second.
inline __m512i in_half_words(__m512i bytes) {
  return _mm512_shuffle_epi8(
      bytes, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)));
}
// Bit `at` of the fields of 64 indices in that order, where a field has `width` bits; a lane has its four blocks'
// fields in each of its 64 bits.
consteval Places bits_of_halves(int at, int width) {
  Places places = {};
  for (int k = 0; k < 64; ++k) {
    const int index = k % 8 / 2 * 4 + k / 8 % 2 * 2 + k % 2;
    places.from[k] = static_cast<uint8_t>(width * index + at);
  }
  return places;
}

inline UnpackedPair unpack_pair(const BlockIQ2_XXS* a, const BlockIQ2_XXS* b) {
  static constexpr ByteBook kBook = byte_book(kIq2XxsEntries);
  UnpackedPair to = {};
  const WordPairs pairs(a->q, b->q);
  const __m512i index = pairs.even, words = pairs.odd;
  to.scale = step_scales(_mm512_srli_epi32(words, 28), 0.25f, 0.125f, halves_of_two(a, b));
  const __m512i signs = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x352e2720150e0700), words);
  look_up_eights<kBook, kIq2Planes>(index, {_mm512_movepi8_mask(index)}, half_signs<kLowSeven, 0>(signs),
                                    half_signs<kLowSeven, 1>(signs), to.q);
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ2_XS* a, const BlockIQ2_XS* b) {
  static constexpr ByteBook kBook = byte_book(kIq2XsEntries);
  // The low, or the high, bytes of the words of four blocks in a lane.
  static constexpr auto kBytes = [](int byte) consteval {
    Places places = {};
    for (int k = 0; k < 64; ++k) {
      const int index = k / 16 * 16 + k % 8 / 2 * 4 + k / 8 % 2 * 2 + k % 2;
      places.from[k] = static_cast<uint8_t>(2 * index + byte);
    }
    return places;
  };
  static constexpr auto kLowest = []() consteval {
    Places places = {};
    for (int k = 0; k < 64; ++k) places.from[k] = static_cast<uint8_t>(k % 8 * 8);
    return places;
  };
  static constexpr Places kLow = kBytes(0), kHigh = kBytes(1), kBit8 = kLowest();
  UnpackedPair to = {};
  unpack_nibble_factors(a, b, to);
  const __m512i first = _mm512_loadu_si512(a->q), second = _mm512_loadu_si512(b->q);
  const __m512i index = _mm512_permutex2var_epi8(first, kLow, second);
  const __m512i high = _mm512_permutex2var_epi8(first, kHigh, second);
  look_up_halves<kBook, kIq2Planes>(index, {_mm512_movepi8_mask(index), bits_at(high, kBit8)},
                                    half_signs<kHighSeven, 0>(high), half_signs<kHighSeven, 1>(high), to.q);
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ2_S* a, const BlockIQ2_S* b) {
  static constexpr ByteBook kBook = byte_book(kIq2SEntries);
  static constexpr Places kBit8 = bits_of_halves(0, 2), kBit9 = bits_of_halves(1, 2);
  UnpackedPair to = {};
  unpack_nibble_factors(a, b, to);
  const __m512i index = in_half_words(both_load32(a->q, b->q)), signs = in_half_words(both_load32(a->signs, b->signs));
  const __m512i by_lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  const __m128i fields = sixteen_bytes(long_at(a->high), long_at(b->high));
  const __m512i high = _mm512_permutexvar_epi32(by_lane, _mm512_castsi128_si512(fields));
  look_up_halves<kBook, kIq2Planes>(index, {_mm512_movepi8_mask(index), bits_at(high, kBit8), bits_at(high, kBit9)},
                                    half_signs<kAllEight, 0>(signs), half_signs<kAllEight, 1>(signs), to.q);
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ3_XXS* a, const BlockIQ3_XXS* b) {
  static constexpr ByteBook kBook = byte_book_of_fours(kIq3XxsEntries);
  UnpackedPair to = {};
  const __m512i words = both_load32(a->words, b->words);
  to.scale = step_scales(_mm512_srli_epi32(words, 28), 0.5f, 0.25f, halves_of_two(a, b));
  const WordPairs pairs(a->q, b->q);
  constexpr long long kSevens[2] = {0x2727202007070000, 0x35352e2e15150e0e};
  for (int h = 0; h < 2; ++h) {
    const __m512i index = h == 0 ? pairs.even : pairs.odd;
    const __m512i signs = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(kSevens[h]), words);
    look_up_fours<kIq3XxsLevels>(kBook, index, {_mm512_movepi8_mask(index)}, place_signs<kLowSeven, kFours>(signs),
                                 to.q + 4 * h);
  }
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ3_S* a, const BlockIQ3_S* b) {
  static constexpr ByteBook kBook = byte_book_of_fours(kIq3SEntries);
  // Of a byte of bits for each block.
  static constexpr auto kBits = [](int half) consteval {
    Places places = {};
    for (int k = 0; k < 64; ++k) places.from[k] = static_cast<uint8_t>(k % 8 / 4 * 8 + 4 * half + k % 4);
    return places;
  };
  static constexpr Places kBit8[2] = {kBits(0), kBits(1)};
  UnpackedPair to = {};
  const uint64_t packed = word_at(a->scales) | uint64_t{word_at(b->scales)} << 32;
  const __m128i steps = _mm_unpacklo_epi8(eight_bytes(packed & kLowNibbles), eight_bytes(packed >> 4 & kLowNibbles));
  to.scale = step_scales(_mm512_cvtepu8_epi32(steps), 2, 1, halves_of_two(a, b));
  const WordPairs pairs(a->q, b->q);
  const __m512i high = _mm512_cvtepu16_epi64(sixteen_bytes(long_at(a->high), long_at(b->high)));
  const __m512i signs = both_load32(a->signs, b->signs);
  for (int h = 0; h < 2; ++h) {
    const __m512i index = h == 0 ? pairs.even : pairs.odd;
    const char c = static_cast<char>(2 * h), d = static_cast<char>(2 * h + 1);
    const auto twice_of = [=](int at) { return (c + at) * 0x0101 | (d + at) * 0x01010000; };
    const __m128i order = _mm_setr_epi32(twice_of(0), twice_of(4), twice_of(8), twice_of(12));
    const __m512i twice = _mm512_shuffle_epi8(signs, _mm512_broadcast_i32x4(order));
    look_up_fours<kIq3SLevels>(kBook, index, {_mm512_movepi8_mask(index), bits_at(high, kBit8[h])},
                               place_signs<kAllEight, kFours>(twice), to.q + 4 * h);
  }
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ1_S* a, const BlockIQ1_S* b) {
  static constexpr ByteBook kBook = byte_book(kIq1Entries);
  // Of a word for each block, two of them in 64 bits.
  static constexpr auto kBits = [](int at, int stride) consteval {
    Places places = {};
    for (int k = 0; k < 64; ++k) places.from[k] = static_cast<uint8_t>(k % 8 / 4 * 16 + k % 4 * stride + at);
    return places;
  };
  static constexpr Places kBit8 = kBits(0, 3), kBit9 = kBits(1, 3), kBit10 = kBits(2, 3), kDown = kBits(15, 0);
  UnpackedPair to = {};
  const __m256i words = pair(load16(a->words), load16(b->words));
  const __m512i steps = _mm512_and_si512(_mm512_srli_epi32(_mm512_cvtepu16_epi32(words), 12), _mm512_set1_epi32(7));
  to.scale = step_scales(steps, 0.25f, 0.125f, halves_of_two(a, b));
  const __m512i index = both_load32(a->q, b->q), high = _mm512_cvtepu32_epi64(words);
  const __m512i down = _mm512_movm_epi8(bits_at(high, kDown));
  const UpperBits upper = {_mm512_movepi8_mask(index), bits_at(high, kBit8), bits_at(high, kBit9),
                           bits_at(high, kBit10)};
  look_up_eights<kBook, kIq1Planes>(index, upper, down, down, to.q);
  return to;
}

inline UnpackedPair unpack_pair(const BlockIQ1_M* a, const BlockIQ1_M* b) {
  static constexpr ByteBook kBook = byte_book(kIq1Entries);
  static constexpr Places kBit8 = bits_of_halves(0, 4), kBit9 = bits_of_halves(1, 4), kBit10 = bits_of_halves(2, 4),
                          kDown = bits_of_halves(3, 4);
  UnpackedPair to = {};
  const Iq1Scales first(a), second(b);
  const __m512i steps = _mm512_cvtepu16_epi32(pair(first.steps, second.steps));
  to.fine[0] = odd_factors<0, 3>(steps);
  to.fine[1] = odd_factors<8, 3>(steps);
  to.scale = _mm512_insertf32x8(_mm512_set1_ps(first.scale), _mm256_set1_ps(second.scale), 1);
  const __m512i index = in_half_words(both_load32(a->q, b->q));
  const __m512i by_lane = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
  const __m256i fields = pair(load16(a->high), load16(b->high));
  const __m512i high = _mm512_permutexvar_epi64(by_lane, _mm512_castsi256_si512(fields));
  const __m512i down = _mm512_movm_epi8(bits_at(high, kDown));
  const UpperBits upper = {_mm512_movepi8_mask(index), bits_at(high, kBit8), bits_at(high, kBit9),
                           bits_at(high, kBit10)};
  look_up_halves<kBook, kIq1Planes>(index, upper, down, down, to.q);
  return to;
}

}  // namespace flashmoe::avx512
