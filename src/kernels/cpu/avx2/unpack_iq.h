// The codebooks of 256 values unpacked for stored_rows.h, AVX2.
//
// What is said about all values of a row's block (indices of entries, signs, factors) is unpacked for 256 values at
// once. Codebook entries are then loaded one by one: gathers are microcode on some machines and slowed down by
// mitigations on others.
#pragma once

#include "kernels/cpu/avx2/stored_rows.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"

namespace flashmoe::FLASHMOE_ISA {

inline void store32(void* to, __m256i a) { _mm256_storeu_si256(static_cast<__m256i*>(to), a); }

// The entries of 32 values.
template <typename Index>
inline __m256i entries_at(const uint64_t* book, const Index index[4]) {
  const auto two = [&](int k) {
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(book + index[k]));
    return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), reinterpret_cast<const __m64*>(book + index[k + 1])));
  };
  return _mm256_setr_m128i(two(0), two(2));
}
template <typename Index>
inline __m256i entries_at(const uint32_t* book, const Index index[8]) {
  const auto four = [&](int k) {
    const auto at = [&](int j) { return static_cast<int>(book[index[k + j]]); };
    return _mm_insert_epi32(_mm_insert_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(at(0)), at(1), 1), at(2), 2), at(3), 3);
  };
  return _mm256_setr_m128i(four(0), four(4));
}

// 32 upper bytes and 32 lower ones to 16-bit numbers.
inline void store_pairs(__m256i lower, __m256i upper, uint16_t to[32]) {
  lower = _mm256_permute4x64_epi64(lower, 0xd8);
  upper = _mm256_permute4x64_epi64(upper, 0xd8);
  store32(to, _mm256_unpacklo_epi8(lower, upper));
  store32(to + 16, _mm256_unpackhi_epi8(lower, upper));
}

// A byte of each of 8 words and each of its four pieces of kBits.
template <int kBits>
inline __m256i bytes_of_pieces(__m256i words) {
  constexpr int kTwo = (1 << 2 * kBits) - 1, kOne = (1 << kBits) - 1;
  const __m256i twos = _mm256_and_si256(_mm256_or_si256(words, _mm256_slli_epi32(words, 16 - 2 * kBits)),
                                        _mm256_set1_epi32(kTwo << 16 | kTwo));
  return _mm256_and_si256(_mm256_or_si256(twos, _mm256_slli_epi32(twos, 8 - kBits)),
                          _mm256_set1_epi32(kOne << 24 | kOne << 16 | kOne << 8 | kOne));
}

// even_signs of 32 bytes.
inline __m256i with_eighth(__m256i sevens) {
  const __m256i odd = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
  const __m256i nibbles = _mm256_xor_si256(sevens, _mm256_srli_epi16(sevens, 4));
  return _mm256_or_si256(sevens, _mm256_shuffle_epi8(odd, _mm256_and_si256(nibbles, _mm256_set1_epi8(15))));
}
// The signs of 8 times 32 values out of the low 28 bits of words.
inline __m256i signs_of_words(__m256i words) {
  const __m256i halves =
      _mm256_and_si256(_mm256_blend_epi16(words, _mm256_slli_epi32(words, 2), 0xaa), _mm256_set1_epi32(0x3fff3fff));
  return with_eighth(_mm256_add_epi16(halves, _mm256_and_si256(halves, _mm256_set1_epi32(0x3f803f80))));
}

// Eight bytes of each row: of rows 0 and 1, 4 and 5, and of the others.
struct RowBytes {
  __m256i even, odd;

  template <typename At>
  static RowBytes load(At at) {  // at(row): where they are
    const auto two = [&](int row) {
      const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at(row)));
      return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), reinterpret_cast<const __m64*>(at(row + 1))));
    };
    return {_mm256_setr_m128i(two(0), two(4)), _mm256_setr_m128i(two(2), two(6))};
  }
  template <typename Change>
  RowBytes changed(Change change) const {
    return {change(even), change(odd)};
  }
};
inline __m256i low_nibbles(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
inline __m256i high_nibbles(__m256i bytes) { return low_nibbles(_mm256_srli_epi16(bytes, 4)); }

// 2 * step + 1 of 8 blocks of 8 rows.
class Factors {
 public:
  void set(RowBytes steps) {
    const __m256i zip =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const __m256i even = _mm256_shuffle_epi8(steps.even, zip), odd = _mm256_shuffle_epi8(steps.odd, zip);
    set_four(0, _mm256_unpacklo_epi16(even, odd));
    set_four(4, _mm256_unpackhi_epi16(even, odd));
  }
  __m256i of(int block) const {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes_[block])));
  }

 private:
  void set_four(int block, __m256i steps) {  // rows 0..3 of four blocks, then rows 4..7
    const __m256i ordered = _mm256_permutevar8x32_epi32(steps, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    store32(bytes_[block], _mm256_or_si256(_mm256_add_epi8(ordered, ordered), _mm256_set1_epi8(1)));
  }
  alignas(32) uint8_t bytes_[8][kStoredRows];
};

// What a row's block says of its 256 values: indices of entries, and 32 bits for each 32 values.
template <typename Index, int kIndices>
struct CodebookRow {
  alignas(32) Index index[8][kIndices];
  alignas(32) int32_t marks[8];
};

// A bit for each value that is negative.
struct MarkedBySigns {
  static SignedBytes signed_bytes(__m256i magnitude, int32_t signs) {
    return {magnitude, _mm256_or_si256(bytes_of_bits(static_cast<uint32_t>(signs)), _mm256_set1_epi8(1))};
  }
};
// A byte for each entry, 1 or -1, which is added.
struct MarkedByShifts {
  static SignedBytes signed_bytes(__m256i entries, int32_t shifts) {
    return signed_bytes_of(_mm256_add_epi8(entries, eight_of_each(static_cast<uint32_t>(shifts))));
  }
};

template <typename Block>
using EightRows = const Block* const (&)[kStoredRows];

// How a format is unpacked; its f16 number times kScale is the scale.
template <typename Block>
struct CodebookOf;

// Steps in the upper nibbles of 8 words of each row: words(row).
template <typename Words>
inline RowBytes upper_nibbles(Words words) {
  alignas(8) uint8_t bytes[kStoredRows][8];
  const __m256i upper = _mm256_broadcastsi128_si256(_mm_setr_epi32(0x0f0b0703, -1, -1, -1));
  for (int r = 0; r < kStoredRows; ++r) {
    const __m256i fours = _mm256_shuffle_epi8(words(r), upper);
    const __m256i eight = _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes[r]), _mm256_castsi256_si128(eight));
  }
  return RowBytes::load([&](int r) { return bytes[r]; }).changed(high_nibbles);
}

template <>
struct CodebookOf<BlockIQ2_XXS> : MarkedBySigns {
  static constexpr const auto& kBook = kIq2XxsGrid;
  static constexpr StoredForm kForm = {.largest = 43};
  static constexpr float kScale = 0.125f;
  using Row = CodebookRow<uint8_t, 8>;  // the second half of the indices is not used

  static __m256i words(const BlockIQ2_XXS& block) {
    const __m256 low = _mm256_castsi256_ps(load32(block.q)), high = _mm256_castsi256_ps(load32(block.q + 4));
    // Odd words of both; the shuffle leaves pairs as 0 1 4 5 | 2 3 6 7.
    return _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd)), 0xd8);
  }
  static void set(const BlockIQ2_XXS& block, Row& row) {
    store32(row.index, load32(block.q));
    store32(row.index[4], load32(block.q + 4));
    store32(row.marks, signs_of_words(words(block)));
  }
  static void set_factors(EightRows<BlockIQ2_XXS> rows, Factors* to) {
    to->set(upper_nibbles([&](int r) { return words(*rows[r]); }));
  }
};

template <>
struct CodebookOf<BlockIQ3_XXS> : MarkedBySigns {
  static constexpr const auto& kBook = kIq3XxsGrid;
  static constexpr StoredForm kForm = {.largest = 62};
  static constexpr float kScale = 0.25f;
  using Row = CodebookRow<uint8_t, 8>;

  static void set(const BlockIQ3_XXS& block, Row& row) {
    store32(row.index, load32(block.q));
    store32(row.index[4], load32(block.q + 32));
    store32(row.marks, signs_of_words(load32(block.words)));
  }
  static void set_factors(EightRows<BlockIQ3_XXS> rows, Factors* to) {
    to->set(upper_nibbles([&](int r) { return load32(rows[r]->words); }));
  }
};

// A byte of each block, the factor of its first half in the low nibble.
template <typename Block>
inline void set_both_nibbles(EightRows<Block> rows, Factors* to) {
  const RowBytes both = RowBytes::load([&](int r) { return rows[r]->scales; });
  to[0].set(both.changed(low_nibbles));
  to[1].set(both.changed(high_nibbles));
}

template <>
struct CodebookOf<BlockIQ2_XS> : MarkedBySigns {
  static constexpr const auto& kBook = kIq2XsGrid;
  static constexpr StoredForm kForm = {.largest = 43, .has_halves = true};
  static constexpr float kScale = 0.125f;
  using Row = CodebookRow<uint16_t, 4>;

  static void set(const BlockIQ2_XS& block, Row& row) {
    const __m256i low = load32(block.q), high = load32(block.q + 16), nine = _mm256_set1_epi16(511);
    store32(row.index, _mm256_and_si256(low, nine));
    store32(row.index[4], _mm256_and_si256(high, nine));
    const __m256i sevens = _mm256_packus_epi16(_mm256_srli_epi16(low, 9), _mm256_srli_epi16(high, 9));
    store32(row.marks, with_eighth(_mm256_permute4x64_epi64(sevens, 0xd8)));
  }
  static void set_factors(EightRows<BlockIQ2_XS> rows, Factors* to) { set_both_nibbles(rows, to); }
};

template <>
struct CodebookOf<BlockIQ2_S> : MarkedBySigns {
  static constexpr const auto& kBook = kIq2SGrid;
  static constexpr StoredForm kForm = {.largest = 43, .has_halves = true};
  static constexpr float kScale = 0.125f;
  using Row = CodebookRow<uint16_t, 4>;

  static void set(const BlockIQ2_S& block, Row& row) {
    const __m256i high = _mm256_cvtepu8_epi32(eight_bytes(long_at(block.high)));
    store_pairs(load32(block.q), bytes_of_pieces<2>(high), row.index[0]);
    store32(row.marks, load32(block.signs));
  }
  static void set_factors(EightRows<BlockIQ2_S> rows, Factors* to) { set_both_nibbles(rows, to); }
};

template <>
struct CodebookOf<BlockIQ3_S> : MarkedBySigns {
  static constexpr const auto& kBook = kIq3SGrid;
  static constexpr StoredForm kForm = {.largest = 15};
  static constexpr float kScale = 1;
  using Row = CodebookRow<uint16_t, 8>;

  static void set(const BlockIQ3_S& block, Row& row) {
    for (int half = 0; half < 2; ++half) {
      const __m256i high = _mm256_abs_epi8(bytes_of_bits(word_at(block.high + 4 * half)));
      store_pairs(load32(block.q + 32 * half), high, row.index[4 * half]);
    }
    store32(row.marks, load32(block.signs));
  }
  static void set_factors(EightRows<BlockIQ3_S> rows, Factors* to) {
    // The scales are the last four bytes: each is doubled, and gives its low nibble, then its high one.
    const RowBytes ends = RowBytes::load([&](int r) { return rows[r]->scales - 4; });
    to->set(ends.changed([](__m256i bytes) {
      const __m256i twice =
          _mm256_broadcastsi128_si256(_mm_setr_epi8(4, 4, 5, 5, 6, 6, 7, 7, 12, 12, 13, 13, 14, 14, 15, 15));
      const __m256i pairs = _mm256_shuffle_epi8(bytes, twice);
      return low_nibbles(_mm256_blendv_epi8(pairs, _mm256_srli_epi16(pairs, 4), _mm256_set1_epi16(-256)));
    }));
  }
};

template <>
struct CodebookOf<BlockIQ1_S> : MarkedByShifts {
  static constexpr const auto& kBook = kIq1Grid;
  static constexpr StoredForm kForm = {.largest = 9};
  static constexpr float kScale = 0.125f;
  using Row = CodebookRow<uint16_t, 4>;

  static void set(const BlockIQ1_S& block, Row& row) {
    const __m256i words = _mm256_cvtepu16_epi32(load16(block.words));
    const __m256i twelve = _mm256_and_si256(words, _mm256_set1_epi32(0xfff));
    store_pairs(load32(block.q), bytes_of_pieces<3>(twelve), row.index[0]);
    const __m256i is_down = _mm256_cmpgt_epi32(words, _mm256_set1_epi32(0x7fff));
    store32(row.marks, _mm256_or_si256(is_down, _mm256_set1_epi8(1)));
  }
  static void set_factors(EightRows<BlockIQ1_S> rows, Factors* to) {
    const RowBytes nibbles =
        upper_nibbles([&](int r) { return _mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(rows[r]->words)), 16); });
    to->set(nibbles.changed([](__m256i steps) { return _mm256_and_si256(steps, _mm256_set1_epi8(7)); }));
  }
};

template <>
struct CodebookOf<BlockIQ1_M> : MarkedByShifts {
  static constexpr const auto& kBook = kIq1Grid;
  static constexpr StoredForm kForm = {.largest = 9, .has_halves = true};
  static constexpr float kScale = 0.125f;
  using Row = CodebookRow<uint16_t, 4>;

  static void set(const BlockIQ1_M& block, Row& row) {
    const __m256i words = _mm256_cvtepu8_epi16(load16(block.high));
    const __m256i nibbles = low_nibbles(_mm256_or_si256(words, _mm256_slli_epi16(words, 4)));
    store_pairs(load32(block.q), _mm256_and_si256(nibbles, _mm256_set1_epi8(7)), row.index[0]);
    const __m256i is_down = _mm256_cmpgt_epi8(nibbles, _mm256_set1_epi8(7));
    store32(row.marks, _mm256_or_si256(is_down, _mm256_set1_epi8(1)));
  }
  static void set_factors(EightRows<BlockIQ1_M> rows, Factors* to) {
    // A word has the steps of both halves of a block, 3 bits each, and then of the next one.
    const RowBytes words = RowBytes::load([&](int r) { return rows[r]->scales; });
    const auto steps = [](__m256i both) {
      const __m256i first = _mm256_and_si256(both, _mm256_set1_epi16(7));
      return _mm256_or_si256(first, _mm256_and_si256(_mm256_slli_epi16(both, 2), _mm256_set1_epi16(0x700)));
    };
    to[0].set(words.changed(steps));
    to[1].set(words.changed([&](__m256i both) { return steps(_mm256_srli_epi16(both, 3)); }));
  }
};

inline uint16_t half_of(const BlockIQ1_M& block) { return iq1_m_scale(block.scales); }
template <typename Block>
inline uint16_t half_of(const Block& block) {
  return load_u16(block.d);
}

template <typename Block>
class StoredRows {
  using Book = CodebookOf<Block>;

 public:
  static constexpr StoredForm kForm = Book::kForm;

  explicit StoredRows(EightRows<Block> rows) {
    for (int r = 0; r < kStoredRows; ++r) Book::set(*rows[r], rows_[r]);
    Book::set_factors(rows, factors_);
    const auto half = [&](int r) { return static_cast<short>(half_of(*rows[r])); };
    const __m128i halves = _mm_setr_epi16(half(0), half(1), half(2), half(3), half(4), half(5), half(6), half(7));
    scale_ = _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(Book::kScale));
  }
  SignedBytes bytes(int row, int block) const {
    return Book::signed_bytes(entries_at(Book::kBook.entries, rows_[row].index[block]), rows_[row].marks[block]);
  }
  __m256 scale() const { return scale_; }
  __m256i factor(int half, int block) const { return factors_[kForm.has_halves ? half : 0].of(block); }

 private:
  typename Book::Row rows_[kStoredRows];
  Factors factors_[kForm.has_halves ? 2 : 1];
  __m256 scale_;
};

}  // namespace flashmoe::FLASHMOE_ISA
