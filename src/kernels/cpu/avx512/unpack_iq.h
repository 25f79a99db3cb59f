// The IQ formats of 256 values unpacked to bytes, AVX-512.
//
// Codebooks of up to 1024 entries are looked up 64 bytes at a time in their stored form, by permutes over the whole
// table: gathers are microcode on some machines and slowed down by mitigations on others, and entries loaded one by one
// cost more to put together than the permutes. For IQ1's 2048 entries it is the other way round,
// unless 64 are looked up at once (unpack_codebooks.h). Values stay in planes
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

constexpr Form with_pairs(PairOrder pairs, Form form) {
  form.pairs = pairs;
  return form;
}
constexpr Form form_of(const BlockIQ1_S*) { return with_pairs(PairOrder::kEights, {Kind::kPlain, 9}); }
constexpr Form form_of(const BlockIQ1_M*) { return with_pairs(PairOrder::kEightsInHalves, {Kind::kFine, 9}); }
constexpr Form form_of(const BlockIQ2_XXS*) {
  return with_pairs(PairOrder::kEights, {Kind::kPlain, 128, Order::kPlanes});
}
constexpr Form form_of(const BlockIQ2_XS*) {
  return with_pairs(PairOrder::kEightsInHalves, {Kind::kFine, 128, Order::kPlanes});
}
constexpr Form form_of(const BlockIQ2_S*) {
  return with_pairs(PairOrder::kEightsInHalves, {Kind::kFine, 128, Order::kPlanes});
}
constexpr Form form_of(const BlockIQ3_XXS*) {
  return with_pairs(PairOrder::kFours, {Kind::kPlain, 128, Order::kPlanes});
}
constexpr Form form_of(const BlockIQ3_S*) { return with_pairs(PairOrder::kFours, {Kind::kPlain, 128, Order::kPlanes}); }
constexpr Form form_of(const BlockIQ4_XS*) { return {Kind::kPlain, 128, Order::kHalves}; }

constexpr uint64_t kLowNibbles = 0x0f0f0f0f0f0f0f0f;

// A codebook's entries in two bytes each: the codes of the first and of the second half of the values.
template <size_t kEntries>
struct ByteBook {
  alignas(64) uint8_t low[kEntries];
  alignas(64) uint8_t high[kEntries];
};
// Entries of 8 values of 2 bits as they are; of 4 values of 4 bits with only the 3 that are used.
template <size_t kEntries>
consteval ByteBook<kEntries> byte_book(const uint16_t (&entries)[kEntries]) {
  ByteBook<kEntries> book = {};
  for (size_t i = 0; i < kEntries; ++i) {
    book.low[i] = static_cast<uint8_t>(entries[i] & 255);
    book.high[i] = static_cast<uint8_t>(entries[i] >> 8);
  }
  return book;
}
template <size_t kEntries>
consteval ByteBook<kEntries> byte_book_of_fours(const uint16_t (&entries)[kEntries]) {
  const auto in_threes = [](int byte) { return static_cast<uint8_t>((byte & 7) | (byte >> 4 & 7) << 3); };
  ByteBook<kEntries> book = {};
  for (size_t i = 0; i < kEntries; ++i) {
    book.low[i] = in_threes(entries[i] & 255);
    book.high[i] = in_threes(entries[i] >> 8);
  }
  return book;
}

// Bits 7 to 10 of 64 indices, as masks.
struct UpperBits {
  __mmask64 bit7, bit8 = 0, bit9 = 0, bit10 = 0;
};
// 64 bytes out of kBytes.
template <size_t kBytes>
inline __m512i look_up(const uint8_t* bytes, __m512i index, UpperBits upper) {
  if constexpr (kBytes == 128) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(bytes), index, _mm512_load_si512(bytes + 64));
  } else {
    constexpr size_t kHalf = kBytes / 2;
    const __mmask64 bit = kBytes == 256    ? upper.bit7
                          : kBytes == 512  ? upper.bit8
                          : kBytes == 1024 ? upper.bit9
                                           : upper.bit10;
    return _mm512_mask_blend_epi8(bit, look_up<kHalf>(bytes, index, upper),
                                  look_up<kHalf>(bytes + kHalf, index, upper));
  }
}

// Bytes for vpermb, or bits for vpshufbitqmb and vpmultishiftqb.
struct Places {
  alignas(64) uint8_t from[64];
  operator __m512i() const { return _mm512_load_si512(from); }
};
// Twice in succession: first + k * stride for `run` values of k, and on by `jump` for the next run.
consteval Places twice_order(int first, int stride, int run, int jump) {
  Places places = {};
  for (int k = 0; k < 64; ++k) {
    places.from[k] = static_cast<uint8_t>(first + k / 2 % run * stride + k / 2 / run * jump);
  }
  return places;
}
inline constexpr Places kTwice = twice_order(0, 1, 32, 0);
inline __m512i twice(__m256i bytes) { return _mm512_permutexvar_epi8(kTwice, _mm512_castsi256_si512(bytes)); }
// Of each 8 bytes, the bit that `places` name.
inline __mmask64 bits_at(__m512i words, const Places& places) { return _mm512_bitshuffle_epi64_mask(words, places); }

// Where a plane's values are: bits [code_at, + width) of the book's bytes are the code, bit sign_at of a byte of signs
// is the sign. vpermb sees 6 bits, of which a table ignores those that are neither: codes and signs need not be moved
// to where they are worth the same, and one instruction puts them together.
struct Plane {
  int code_at, sign_at;
};
inline constexpr Plane kEights[4] = {{0, 4}, {2, 5}, {2, 0}, {4, 1}};  // the last two of bytes moved by two bits
inline constexpr Plane kFours[4] = {{0, 3}, {3, 0}, {0, 4}, {3, 1}};   // the last two of the book's high bytes

// 128 + level, or 128 - level where the sign is set.
template <size_t kLevels>
consteval Places signed_levels(const int8_t (&levels)[kLevels], Plane plane, int width) {
  Places table = {};
  for (size_t i = 0; i < 64; ++i) {
    const size_t code = i >> plane.code_at & ((size_t{1} << width) - 1);
    const int level = code < kLevels ? levels[code] : 0;
    table.from[i] = static_cast<uint8_t>((i >> plane.sign_at & 1) != 0 ? 128 - level : 128 + level);
  }
  return table;
}
template <const auto& kLevels, const Plane& kPlane, int kWidth>
inline __m512i levels_of(__m512i codes, __m512i signs) {
  static constexpr Places kTable = signed_levels(kLevels, kPlane, kWidth);
  const __m512i is_code = _mm512_set1_epi8(static_cast<char>(((1 << kWidth) - 1) << kPlane.code_at));
  return _mm512_permutexvar_epi8(_mm512_ternarylogic_epi32(is_code, codes, signs, 0xca), kTable);
}

// Which bits of a byte are the signs of 8 values: those that are set in sign[v], summed.
struct SignBits {
  uint8_t sign[8];
};
inline constexpr SignBits kAllEight = {{1, 2, 4, 8, 16, 32, 64, 128}};
inline constexpr SignBits kLowSeven = {{1, 2, 4, 8, 16, 32, 64, 0x7f}};     // see even_signs
inline constexpr SignBits kHighSeven = {{2, 4, 8, 16, 32, 64, 128, 0xfe}};  // likewise

// For vgf2p8affineqb: the signs of values 4 half .. 4 half + 3 to where the planes want them.
consteval long long sign_map(const SignBits& bits, int half, const Plane (&planes)[4]) {
  uint64_t rows = 0;
  for (int p = 0; p < 4; ++p) {
    rows |= static_cast<uint64_t>(bits.sign[4 * half + p]) << 8 * (7 - planes[p].sign_at);
  }
  return static_cast<long long>(rows);
}
// Every byte comes twice: the first is made the signs of the first four values, the second those of the others.
template <const SignBits& kBits, const Plane (&kPlanes)[4]>
inline __m512i place_signs(__m512i bytes) {
  constexpr long long kFirst = sign_map(kBits, 0, kPlanes), kSecond = sign_map(kBits, 1, kPlanes);
  const __m512i signs = _mm512_gf2p8affine_epi64_epi8(bytes, _mm512_set1_epi64(kFirst), 0);
  return _mm512_mask_gf2p8affine_epi64_epi8(signs, 0xaaaaaaaaaaaaaaaa, bytes, _mm512_set1_epi64(kSecond), 0);
}

// Tables for vpermb by codes of 8 values' planes and their signs.
struct PlaneTables {
  Places of[4];
};
template <size_t kLevels>
consteval PlaneTables signed_planes(const int8_t (&levels)[kLevels]) {
  return {{signed_levels(levels, kEights[0], 2), signed_levels(levels, kEights[1], 2),
           signed_levels(levels, kEights[2], 2), signed_levels(levels, kEights[3], 2)}};
}
inline constexpr PlaneTables kIq2Planes = signed_planes(kIq2XxsLevels);
static_assert(kIq2XsLevels[0] == kIq2XxsLevels[0] && kIq2SLevels[0] == kIq2XxsLevels[0] &&
              kIq2XsLevels[1] == kIq2XxsLevels[1] && kIq2SLevels[1] == kIq2XxsLevels[1] &&
              kIq2XsLevels[2] == kIq2XxsLevels[2] && kIq2SLevels[2] == kIq2XxsLevels[2]);
// Six bits have the codes and the signs of two values.
template <const auto& kTables>
inline void levels_of_eights(__m512i codes, __m512i signs, __m512i q[4]) {
  const __m512i first = _mm512_ternarylogic_epi32(_mm512_set1_epi8(0x0f), codes, signs, 0xca);
  const __m512i last = _mm512_ternarylogic_epi32(_mm512_set1_epi8(0x3c), _mm512_srli_epi16(codes, 2), signs, 0xca);
  for (int p = 0; p < 4; ++p) q[p] = _mm512_permutexvar_epi8(p < 2 ? first : last, kTables.of[p]);
}

// Entries of 8 values, looked up in their indices twice over; the plane of value p of each half.
template <size_t kEntries>
inline void look_up_eights(const ByteBook<kEntries>& book, __m512i index_twice, UpperBits upper, __m512i signs,
                           __m512i q[4]) {
  const __m512i codes = _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, look_up<kEntries>(book.low, index_twice, upper),
                                               look_up<kEntries>(book.high, index_twice, upper));
  levels_of_eights<kIq2Planes>(codes, signs, q);
}
// Entries of 4 values.
template <const auto& kLevels, size_t kEntries>
inline void look_up_fours(const ByteBook<kEntries>& book, __m512i index, UpperBits upper, __m512i signs, __m512i q[4]) {
  const __m512i low = look_up<kEntries>(book.low, index, upper), high = look_up<kEntries>(book.high, index, upper);
  q[0] = levels_of<kLevels, kFours[0], 3>(low, signs);
  q[1] = levels_of<kLevels, kFours[1], 3>(low, signs);
  q[2] = levels_of<kLevels, kFours[2], 3>(high, signs);
  q[3] = levels_of<kLevels, kFours[3], 3>(high, signs);
}

// The signs of 8 blocks from four times 7 bits in each of 8 words of 64 bits, the first at bit kFirst; all twice.
template <int kFirst>
inline __m512i sevens(__m512i words) {
  constexpr long long kShifts = 0x15150e0e07070000 + kFirst * 0x0101010101010101;
  return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(kShifts), words);
}
// Scales for each 32 values out of 8 steps: (step * slope + start) * d.
inline __m256 step_scales(__m256 steps, float slope, float start, __m256 d) {
  return _mm256_mul_ps(_mm256_fmadd_ps(steps, _mm256_set1_ps(slope), _mm256_set1_ps(start)), d);
}
inline __m256 step_scales(__m256i steps, float slope, float start, __m256 d) {
  return step_scales(_mm256_cvtepi32_ps(steps), slope, start, d);
}
// 2 step + 1 for 16 steps, in bytes.
inline __m128i odd_factors(__m128i steps) { return _mm_add_epi8(_mm_add_epi8(steps, steps), _mm_set1_epi8(1)); }
inline __m128i sixteen_nibbles(const uint8_t packed[8]) {
  const uint64_t both = long_at(packed);
  return _mm_unpacklo_epi8(eight_bytes(both & kLowNibbles), eight_bytes(both >> 4 & kLowNibbles));
}

inline Unpacked unpack(const BlockIQ2_XXS* block) {
  static constexpr ByteBook kBook = byte_book(kIq2XxsEntries);
  static constexpr Places kIndices = twice_order(0, 1, 4, 8);  // the first four of every eight bytes
  Unpacked to = {};
  const __m512i groups = _mm512_loadu_si512(block->q);
  to.scale = step_scales(_mm512_cvtepu64_ps(_mm512_srli_epi64(groups, 60)), 0.25f, 0.125f, half_everywhere(block->d));
  const __m512i index = _mm512_permutexvar_epi8(kIndices, groups);
  const __m512i signs = place_signs<kLowSeven, kEights>(sevens<32>(groups));
  look_up_eights(kBook, index, {_mm512_movepi8_mask(index)}, signs, to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ2_XS* block) {
  static constexpr ByteBook kBook = byte_book(kIq2XsEntries);
  static constexpr Places kBit8 = twice_order(8, 16, 4, 0);
  Unpacked to = {};
  to.fine = odd_factors(sixteen_nibbles(block->scales));
  to.scale = _mm256_mul_ps(half_everywhere(block->d), _mm256_set1_ps(0.125f));
  const __m512i words = _mm512_loadu_si512(block->q);
  const auto both = [&](int byte) {
    const auto pair = [=](int k) { return (2 * k + byte) * 0x0101 << 16 * (k % 2); };
    const __m128i order = _mm_setr_epi32(pair(0) | pair(1), pair(2) | pair(3), pair(4) | pair(5), pair(6) | pair(7));
    return _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order));
  };
  const __m512i index = both(0), signs = place_signs<kHighSeven, kEights>(both(1));
  look_up_eights(kBook, index, {_mm512_movepi8_mask(index), bits_at(words, kBit8)}, signs, to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ2_S* block) {
  static constexpr ByteBook kBook = byte_book(kIq2SEntries);
  static constexpr Places kBit8 = twice_order(0, 2, 4, 0), kBit9 = twice_order(1, 2, 4, 0);
  Unpacked to = {};
  to.fine = odd_factors(sixteen_nibbles(block->scales));
  to.scale = _mm256_mul_ps(half_everywhere(block->d), _mm256_set1_ps(0.125f));
  const __m512i index = twice(load32(block->q)), high = _mm512_cvtepu8_epi64(eight_bytes(long_at(block->high)));
  const __m512i signs = place_signs<kAllEight, kEights>(twice(load32(block->signs)));
  look_up_eights(kBook, index, {_mm512_movepi8_mask(index), bits_at(high, kBit8), bits_at(high, kBit9)}, signs, to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ3_XXS* block) {
  static constexpr ByteBook kBook = byte_book_of_fours(kIq3XxsEntries);
  Unpacked to = {};
  const __m256i words = load32(block->words);
  to.scale = step_scales(_mm256_srli_epi32(words, 28), 0.5f, 0.25f, half_everywhere(block->d));
  const __m512i index = _mm512_loadu_si512(block->q);
  const __m512i signs = place_signs<kLowSeven, kFours>(sevens<0>(_mm512_cvtepu32_epi64(words)));
  look_up_fours<kIq3XxsLevels>(kBook, index, {_mm512_movepi8_mask(index)}, signs, to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ3_S* block) {
  static constexpr ByteBook kBook = byte_book_of_fours(kIq3SEntries);
  Unpacked to = {};
  const __m256i steps = _mm256_cvtepu8_epi32(eight_bytes(_pdep_u64(word_at(block->scales), kLowNibbles)));
  to.scale = step_scales(steps, 2, 1, half_everywhere(block->d));
  const __m512i index = _mm512_loadu_si512(block->q);
  const __m512i signs = place_signs<kAllEight, kFours>(twice(load32(block->signs)));
  look_up_fours<kIq3SLevels>(kBook, index, {_mm512_movepi8_mask(index), long_at(block->high)}, signs, to.q);
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
  to.scale = step_scales(steps, 0.25f, 0.125f, half_everywhere(block->d));
  // Word k / 4 in lane k.
  const __m512i lanes = _mm512_mullo_epi64(_mm512_cvtepu16_epi64(words), _mm512_set1_epi64(0x0001000100010001));
  expand_iq1(block->q, lanes, _mm512_set1_epi64(0x0009000600030000), to.q);
  const auto down = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))));
  for (int g = 0; g < 4; ++g) {
    to.q[g] = move_by_one(to.q[g], _pdep_u64(down >> 2 * g, 0x0000000100000001) * 0xffffffff);
  }
  return to;
}

struct Iq1Scales {
  __m128i steps;  // [16] bytes
  float scale;
  explicit Iq1Scales(const BlockIQ1_M* block) {
    constexpr uint64_t kThrees = 0x0707070707070707;
    const uint64_t words = long_at(block->scales[0]), packed = _pext_u64(words, 0x0fff0fff0fff0fff);
    steps = sixteen_bytes(_pdep_u64(packed, kThrees), _pdep_u64(packed >> 24, kThrees));
    scale = _cvtsh_ss(static_cast<uint16_t>(_pext_u64(words, 0xf000f000f000f000))) * 0.125f;
  }
};

inline Unpacked unpack(const BlockIQ1_M* block) {
  Unpacked to = {};
  const Iq1Scales scales(block);
  to.fine = odd_factors(scales.steps);
  to.scale = _mm256_set1_ps(scales.scale);
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
  to.scale = step_scales(steps, 1, -32, half_everywhere(block->d));
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
