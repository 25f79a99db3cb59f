// The formats of 32 values unpacked to bytes, AVX-512.
#pragma once

#include "kernels/cpu/avx512/int8_dot.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace flashmoe::avx512 {

inline __m256i nibbles(const uint8_t q[16]) {  // low nibbles, then high nibbles
  const __m128i both = load16(q);
  return _mm256_and_si256(pair(both, _mm_srli_epi16(both, 4)), _mm256_set1_epi8(15));
}
inline __m256i level_bytes(const uint8_t q[16], const int8_t levels[16]) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(levels)), nibbles(q));
}

inline __m256i signed_bytes(const BlockQ8_0& block) { return load32(block.q); }
inline __m256i signed_bytes(const BlockQ4_0& block) { return _mm256_sub_epi8(nibbles(block.q), _mm256_set1_epi8(8)); }
inline __m256i signed_bytes(const BlockQ5_0& block) {
  const __m256i low = nibbles(block.q);
  return _mm256_mask_sub_epi8(low, ~word_at(block.high), low, _mm256_set1_epi8(16));
}
inline __m256i signed_bytes(const BlockIQ4_NL& block) { return level_bytes(block.q, kIq4Levels); }
inline __m256i signed_bytes(const BlockMXFP4& block) { return level_bytes(block.q, kMxfp4Levels); }

inline __m256i unsigned_bytes(const BlockQ4_1& block) { return nibbles(block.q); }
inline __m256i unsigned_bytes(const BlockQ5_1& block) {
  const __m256i low = nibbles(block.q);
  return _mm256_mask_add_epi8(low, word_at(block.high), low, _mm256_set1_epi8(16));
}

template <typename Block>
inline float scale_of(const Block& block) {
  return half_at(block.d);
}
inline float scale_of(const BlockMXFP4& block) { return half_e8m0(block.e); }

template <int kBlocks, typename Block>
inline auto unpack_pair(const Block* blocks) {
  constexpr bool kHasMin = requires { blocks->m; };
  const auto bytes = [](const Block& block) {
    if constexpr (kHasMin) {
      return unsigned_bytes(block);
    } else {
      return signed_bytes(block);
    }
  };
  __m512i q = _mm512_zextsi256_si512(bytes(blocks[0]));
  float scales[2] = {scale_of(blocks[0]), 0};
  if constexpr (kBlocks == 2) {
    q = _mm512_inserti64x4(q, bytes(blocks[1]), 1);
    scales[1] = scale_of(blocks[1]);
  }
  if constexpr (kHasMin) {
    const float mins[2] = {half_at(blocks[0].m) / 8, kBlocks == 2 ? half_at(blocks[kBlocks - 1].m) / 8 : 0};
    return MinPairWeights<kBlocks>{q, by_block<kBlocks>(scales), by_block<kBlocks>(mins)};
  } else {
    return PairWeights<kBlocks>{q, signed_start(q), by_block<kBlocks>(scales)};
  }
}

}  // namespace flashmoe::avx512
