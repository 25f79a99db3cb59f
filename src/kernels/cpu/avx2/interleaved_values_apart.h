// InterleavedValues (interleaved_values.h) of formats with scales kept apart, which scales_apart.h reads.
#pragma once

#include "kernels/cpu/avx2/interleaved_values.h"
#include "kernels/cpu/avx2/mxfp4.h"
#include "quant/affine.h"
#include "quant/mxfp4_split.h"

namespace flashmoe::FLASHMOE_ISA {

template <typename BlockOfRows>
struct BlocksWithScalesApart : BlocksOf32<BlockOfRows> {
  using Base = BlocksOf32<BlockOfRows>;
  using Base::Base;

  __m256i word(int b, int k) const { return Base::word(b, 0, k); }
};

// Quants follow one another from the lowest bit of a word on, and over its end.
template <int kBits>
struct InterleavedValues<BlockAffine<kBits>> : BlocksWithScalesApart<BlockAffine<kBits>> {
  using Block = BlockAffine<kBits>;
  using Base = BlocksWithScalesApart<Block>;
  static constexpr int kColumnsApart = 8 % kBits == 0 ? 8 / kBits : 1;
  static constexpr WeightBytes kBytes = {.largest = kBits == 8 ? 128 : (1 << kBits) - 1, .is_signed = kBits == 8};
  static constexpr bool kHasBiases = true;
  using Base::Base, Base::word;

  __m256i four(int b, int k) const {
    if constexpr (kBits == 8) {
      return _mm256_xor_si256(word(b, k), every(128));  // 128 less, as vpmaddubsw wants it
    } else if constexpr (8 % kBits == 0) {
      const __m256i bits = _mm256_srli_epi16(word(b, k / kColumnsApart), k % kColumnsApart * kBits);
      return _mm256_and_si256(bits, every((1 << kBits) - 1));
    } else {
      const int first = 4 * kBits * k, shift = first % 32;
      __m256i bits = _mm256_srli_epi32(word(b, first / 32), shift);
      if (shift + 4 * kBits > 32) {
        bits = _mm256_or_si256(bits, _mm256_slli_epi32(word(b, first / 32 + 1), 32 - shift));
      }
      return bytes_of(bits);
    }
  }

 private:
  // Four quants from bit 0 on.
  static __m256i bytes_of(__m256i bits) {
    const auto part = [](__m256i quants, uint32_t mask) {
      return _mm256_and_si256(quants, _mm256_set1_epi32(static_cast<int32_t>(mask)));
    };
    constexpr uint32_t kOne = (1 << kBits) - 1, kTwo = (1 << 2 * kBits) - 1;
    const __m256i twos = _mm256_or_si256(part(bits, kTwo), part(_mm256_slli_epi32(bits, 16 - 2 * kBits), kTwo << 16));
    return _mm256_or_si256(part(twos, kOne * 0x10001), part(_mm256_slli_epi32(twos, 8 - kBits), kOne * 0x1000100));
  }
};

template <>
struct InterleavedValues<BlockMXFP4Split> : BlocksWithScalesApart<BlockMXFP4Split> {
  static constexpr WeightBytes kBytes = {.largest = 2 * kMxfp4Largest};
  static constexpr int kOffset = kMxfp4Largest, kColumnsApart = 2;
  using BlocksWithScalesApart::BlocksWithScalesApart;
  __m256i four(int b, int k) const { return levels_of(kMxfp4Unsigned.of, nibbles_of(word(b, k / 2), k % 2 != 0)); }
};

}  // namespace flashmoe::FLASHMOE_ISA
