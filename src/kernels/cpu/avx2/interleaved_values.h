// 256 values of each of 8 interleaved rows, unpacked in registers four values of each row at a time.
//
// InterleavedValues<Block>: four(b, k) has bytes 4 k .. 4 k + 3 of block b of 32 (those of MLX in another order). A
// weight is
//   scale(b) * (byte - kOffset) - min(b), or with factors of each 16 values
//   scale(b) * fine * (byte - kOffset), or scale(b) * fine * byte - min * fine_min,
// kOffset and minimums being those of formats that have some. Scales that are kept apart, and biases, are not among
// them (scales_apart.h).
#pragma once

#include "kernels/cpu/avx2/interleaved.h"
#include "kernels/cpu/avx2/products.h"

namespace flashmoe::FLASHMOE_ISA {

inline __m256i every(int byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }
// a, and those bits of b that are in the mask.
inline __m256i or_masked(__m256i a, __m256i b, __m256i mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }
// With bit `from` of each byte moved to `to`.
inline __m256i bit_at(__m256i bits, int from, int to) {
  return from > to ? _mm256_srli_epi16(bits, from - to) : _mm256_slli_epi16(bits, to - from);
}
// The lower 16 bits of each lane.
inline __m256 halves_to_float(__m256i words) {
  const __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

// The low or the high nibbles of bytes.
inline __m256i nibbles_of(__m256i bytes, bool high) {
  return _mm256_and_si256(high ? _mm256_srli_epi16(bytes, 4) : bytes, every(15));
}
// The levels of nibbles.
inline __m256i levels_of(const int8_t (&levels)[16], __m256i nibbles) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(levels)), nibbles);
}

template <typename Block>
struct InterleavedValues;

// Blocks of 32 values of each row, one after the other.
template <typename BlockOfRows>
struct BlocksOf32 {
  using Block = BlockOfRows;
  const InterleavedColumns<Block> of;

  explicit BlocksOf32(const InterleavedColumns<Block>& columns) : of(columns) {}
  static constexpr size_t at(int b) { return static_cast<size_t>(b) * sizeof(Block); }
  __m256i word(int b, size_t member, int k) const { return of.word(at(b) + member + 4 * static_cast<size_t>(k)); }
};

// Of its own, or a bias.
template <typename Block>
concept HasMinimum = requires(const InterleavedValues<Block>& w) {
  w.min(0);
}
|| InterleavedValues<Block>::kHasBiases;
template <typename Block>
concept HasFineMinimum = requires(const InterleavedValues<Block>& w) {
  w.fine_min;
};

// Q4_K and Q5_K: even blocks in the low and odd ones in the high nibbles of the same words; 8 scales and 8 minimums of
// 6 bits.
template <typename BlockOfNibbles>
struct NibblePairs {
  using Block = BlockOfNibbles;
  const InterleavedColumns<Block> of;
  __m256 d, dmin;
  __m256i scales[2], mins[2];

  explicit NibblePairs(const InterleavedColumns<Block>& columns) : of(columns) {
    static_assert(offsetof(Block, d) == 0 && offsetof(Block, dmin) == 2 && offsetof(Block, scales) == 4);
    const __m256i both = of.word(0), a = of.word(4), b = of.word(8), c = of.word(12);
    d = halves_to_float(both);
    dmin = halves_to_float(_mm256_srli_epi32(both, 16));
    const auto later = [](__m256i low_nibbles, __m256i upper_bits) {
      return or_masked(_mm256_and_si256(low_nibbles, every(15)), _mm256_srli_epi32(upper_bits, 2), every(0x30));
    };
    scales[0] = _mm256_and_si256(a, every(0x3f));
    scales[1] = later(c, a);
    mins[0] = _mm256_and_si256(b, every(0x3f));
    mins[1] = later(_mm256_srli_epi32(c, 4), b);
  }
  __m256i nibbles(int b, int k) const {
    return nibbles_of(of.word(offsetof(Block, q) + static_cast<size_t>(32 * (b / 2) + 4 * k)), b % 2 != 0);
  }
  __m256 scale(int b) const { return _mm256_mul_ps(byte_of(scales[b / 4], b % 4), d); }
  __m256 min(int b) const { return _mm256_mul_ps(byte_of(mins[b / 4], b % 4), dmin); }
};

template <>
struct InterleavedValues<BlockQ4_K> : NibblePairs<BlockQ4_K> {
  static constexpr WeightBytes kBytes = {.largest = 15};
  using NibblePairs::NibblePairs;
  __m256i four(int b, int k) const { return nibbles(b, k); }
};

template <>
struct InterleavedValues<BlockQ5_K> : NibblePairs<BlockQ5_K> {
  static constexpr WeightBytes kBytes = {.largest = 31};
  using NibblePairs::NibblePairs;
  __m256i four(int b, int k) const {
    const __m256i high = of.word(offsetof(Block, high) + static_cast<size_t>(4 * k));  // bit b is that of block b
    return or_masked(nibbles(b, k), bit_at(high, b, 4), every(16));
  }
};

template <>
struct InterleavedValues<BlockQ6_K> {
  using Block = BlockQ6_K;
  static constexpr WeightBytes kBytes = {.largest = 63, .has_fine = true};
  static constexpr int kOffset = 32;
  const InterleavedColumns<Block> of;
  __m256 d;
  FineFactors fine;

  explicit InterleavedValues(const InterleavedColumns<Block>& columns)
      : of(columns), d(_mm256_cvtph_ps(columns.halves(offsetof(Block, d)))) {
    for (size_t j = 0; j < 4; ++j) fine.words[j] = of.word(offsetof(Block, scales) + 4 * j);
  }
  __m256i four(int b, int k) const {
    const int half = b / 4, run = b % 4;
    const __m256i both = of.word(offsetof(Block, low) + static_cast<size_t>(64 * half + 32 * (run % 2) + 4 * k));
    const __m256i high = of.word(offsetof(Block, high) + static_cast<size_t>(32 * half + 4 * k));
    return or_masked(nibbles_of(both, run >= 2), bit_at(high, 2 * run, 4), every(0x30));
  }
  __m256 scale(int /*b*/) const { return d; }
};

template <>
struct InterleavedValues<BlockQ3_K> {
  using Block = BlockQ3_K;
  static constexpr WeightBytes kBytes = {.largest = 7, .has_fine = true};
  static constexpr int kOffset = 4;
  const InterleavedColumns<Block> of;
  __m256 d;
  FineFactors fine;

  explicit InterleavedValues(const InterleavedColumns<Block>& columns)
      : of(columns), d(_mm256_cvtph_ps(columns.halves(offsetof(Block, d)))) {
    const __m256i low[2] = {of.word(offsetof(Block, scales)), of.word(offsetof(Block, scales) + 4)};
    const __m256i upper = of.word(offsetof(Block, scales) + 8);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i nibbles = _mm256_and_si256(_mm256_srli_epi32(low[j % 2], j / 2 * 4), every(15));
      const __m256i bits = bit_at(upper, 2 * j, 4);
      fine.words[j] = _mm256_sub_epi8(or_masked(nibbles, bits, every(0x30)), every(32));
    }
  }
  __m256i four(int b, int k) const {
    const __m256i pairs = of.word(offsetof(Block, q) + static_cast<size_t>(32 * (b / 4) + 4 * k));
    const __m256i thirds = of.word(offsetof(Block, high) + static_cast<size_t>(4 * k));
    return or_masked(_mm256_and_si256(bit_at(pairs, b % 4 * 2, 0), every(3)), bit_at(thirds, b, 2), every(4));
  }
  __m256 scale(int /*b*/) const { return d; }
};

template <>
struct InterleavedValues<BlockQ2_K> {
  using Block = BlockQ2_K;
  static constexpr WeightBytes kBytes = {.largest = 3, .has_fine = true};
  const InterleavedColumns<Block> of;
  __m256 d, dmin;
  FineFactors fine, fine_min;

  explicit InterleavedValues(const InterleavedColumns<Block>& columns)
      : of(columns),
        d(_mm256_cvtph_ps(columns.halves(offsetof(Block, d)))),
        dmin(_mm256_cvtph_ps(columns.halves(offsetof(Block, dmin)))) {
    for (size_t j = 0; j < 4; ++j) {
      const __m256i packed = of.word(offsetof(Block, scales) + 4 * j);
      fine.words[j] = _mm256_and_si256(packed, every(15));
      fine_min.words[j] = _mm256_and_si256(_mm256_srli_epi16(packed, 4), every(15));
    }
  }
  __m256i four(int b, int k) const {
    const __m256i pairs = of.word(offsetof(Block, q) + static_cast<size_t>(32 * (b / 4) + 4 * k));
    return _mm256_and_si256(bit_at(pairs, b % 4 * 2, 0), every(3));
  }
  __m256 scale(int /*b*/) const { return d; }
};

template <>
struct InterleavedValues<BlockIQ4_XS> {
  using Block = BlockIQ4_XS;
  static constexpr WeightBytes kBytes = {.largest = 128, .is_signed = true};
  const InterleavedColumns<Block> of;
  __m256 d;
  __m256i high, low;  // of the scales: pairs of bits from bit 16 on, and nibbles

  explicit InterleavedValues(const InterleavedColumns<Block>& columns) : of(columns) {
    static_assert(offsetof(Block, d) == 0 && offsetof(Block, scales_high) == 2 && offsetof(Block, scales_low) == 4);
    high = of.word(0);
    low = of.word(4);
    d = halves_to_float(high);
  }
  __m256i four(int b, int k) const {
    const __m256i both = of.word(offsetof(Block, q) + static_cast<size_t>(16 * b + 4 * (k % 4)));
    return levels_of(kIq4Levels, nibbles_of(both, k >= 4));
  }
  __m256 scale(int b) const {
    const __m256i nibble = _mm256_and_si256(_mm256_srli_epi32(low, 4 * b), _mm256_set1_epi32(15));
    const __m256i bits = _mm256_and_si256(_mm256_srli_epi32(high, 12 + 2 * b), _mm256_set1_epi32(0x30));
    const __m256i step = _mm256_sub_epi32(_mm256_or_si256(nibble, bits), _mm256_set1_epi32(32));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(step), d);
  }
};

}  // namespace flashmoe::FLASHMOE_ISA
