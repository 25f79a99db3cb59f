// InterleavedValues (interleaved_values.h) of blocks of 32 values.
#pragma once

#include "kernels/cpu/avx2/interleaved_values.h"
#include "kernels/cpu/avx2/mxfp4.h"
#include "quant/iq4_nl.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace flashmoe::FLASHMOE_ISA {

// With a scale in each.
template <typename BlockOfRows>
struct BlocksWithScale : BlocksOf32<BlockOfRows> {
  using Block = BlockOfRows;
  using BlocksOf32<Block>::BlocksOf32, BlocksOf32<Block>::of, BlocksOf32<Block>::at, BlocksOf32<Block>::word;

  __m256 scale(int b) const { return _mm256_cvtph_ps(of.halves(at(b) + offsetof(Block, d))); }
  // Columns 0 .. 15 are in the low nibbles, 16 .. 31 in the high ones.
  __m256i nibbles(int b, int k) const { return nibbles_of(word(b, offsetof(Block, q), k % 4), k >= 4); }
  // Bit j is the fifth of column j.
  __m256i five_bits(int b, int k) const {
    const __m256i first_bytes =
        _mm256_setr_epi64x(0x0404'0404'0000'0000, 0x0c0c'0c0c'0808'0808, 0x0404'0404'0000'0000, 0x0c0c'0c0c'0808'0808);
    const __m256i high = word(b, offsetof(Block, high), 0);
    const __m256i of_eight = _mm256_shuffle_epi8(high, _mm256_add_epi8(first_bytes, every(k / 2)));
    const __m256i bit = _mm256_slli_epi16(_mm256_set1_epi32(0x0804'0201), k % 2 * 4);
    return or_masked(nibbles(b, k), _mm256_cmpeq_epi8(_mm256_and_si256(of_eight, bit), bit), every(16));
  }
};

// And a minimum of each block, which is added.
template <typename BlockOfRows>
struct BlocksWithMinimum : BlocksWithScale<BlockOfRows> {
  using Block = BlockOfRows;
  using BlocksWithScale<Block>::BlocksWithScale, BlocksWithScale<Block>::word;

  __m256 scale(int b) const { return halves_to_float(word(b, offsetof(Block, d), 0)); }
  __m256 min(int b) const {
    static_assert(offsetof(Block, m) == offsetof(Block, d) + 2);
    const __m256 added = halves_to_float(_mm256_srli_epi32(word(b, offsetof(Block, d), 0), 16));
    return _mm256_xor_ps(added, _mm256_set1_ps(-0.0f));
  }
};

template <>
struct InterleavedValues<BlockQ8_0> : BlocksWithScale<BlockQ8_0> {
  static constexpr WeightBytes kBytes = {.largest = 128, .is_signed = true};
  using BlocksWithScale::BlocksWithScale;
  __m256i four(int b, int k) const { return word(b, offsetof(Block, q), k); }
};

template <>
struct InterleavedValues<BlockQ4_0> : BlocksWithScale<BlockQ4_0> {
  static constexpr WeightBytes kBytes = {.largest = 15};
  static constexpr int kOffset = 8;
  using BlocksWithScale::BlocksWithScale;
  __m256i four(int b, int k) const { return nibbles(b, k); }
};

template <>
struct InterleavedValues<BlockQ4_1> : BlocksWithMinimum<BlockQ4_1> {
  static constexpr WeightBytes kBytes = {.largest = 15};
  using BlocksWithMinimum::BlocksWithMinimum;
  __m256i four(int b, int k) const { return nibbles(b, k); }
};

template <>
struct InterleavedValues<BlockQ5_0> : BlocksWithScale<BlockQ5_0> {
  static constexpr WeightBytes kBytes = {.largest = 31};
  static constexpr int kOffset = 16;
  using BlocksWithScale::BlocksWithScale;
  __m256i four(int b, int k) const { return five_bits(b, k); }
};

template <>
struct InterleavedValues<BlockQ5_1> : BlocksWithMinimum<BlockQ5_1> {
  static constexpr WeightBytes kBytes = {.largest = 31};
  using BlocksWithMinimum::BlocksWithMinimum;
  __m256i four(int b, int k) const { return five_bits(b, k); }
};

template <>
struct InterleavedValues<BlockIQ4_NL> : BlocksWithScale<BlockIQ4_NL> {
  static constexpr WeightBytes kBytes = {.largest = 127, .is_signed = true};
  using BlocksWithScale::BlocksWithScale;
  __m256i four(int b, int k) const { return levels_of(kIq4Levels, nibbles(b, k)); }
};

template <>
struct InterleavedValues<BlockMXFP4> : BlocksWithScale<BlockMXFP4> {
  static constexpr WeightBytes kBytes = {.largest = 2 * kMxfp4Largest};
  static constexpr int kOffset = kMxfp4Largest;
  using BlocksWithScale::BlocksWithScale;
  __m256i four(int b, int k) const { return levels_of(kMxfp4Unsigned.of, nibbles(b, k)); }
  __m256 scale(int b) const { return half_e8m0(of.single_bytes(at(b) + offsetof(Block, e))); }
};

}  // namespace flashmoe::FLASHMOE_ISA
