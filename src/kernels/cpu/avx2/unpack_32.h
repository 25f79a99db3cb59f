// The formats of 32 values unpacked to bytes, AVX2.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"

namespace flashmoe::FLASHMOE_ISA {

inline __m256i nibbles(const uint8_t q[16]) {  // low nibbles, then high nibbles
  const __m128i both = load16(q);
  return _mm256_and_si256(_mm256_setr_m128i(both, _mm_srli_epi16(both, 4)), _mm256_set1_epi8(15));
}
inline __m256i fifth_bits(const uint8_t high[4]) {
  return _mm256_and_si256(bytes_of_bits(word_at(high)), _mm256_set1_epi8(16));
}
inline __m256i level_bytes(const uint8_t q[16], const int8_t levels[16]) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(levels)), nibbles(q));
}

inline __m256i signed_bytes(const BlockQ4_0& block) { return _mm256_sub_epi8(nibbles(block.q), _mm256_set1_epi8(8)); }
inline __m256i signed_bytes(const BlockQ5_0& block) {
  return _mm256_sub_epi8(_mm256_or_si256(nibbles(block.q), fifth_bits(block.high)), _mm256_set1_epi8(16));
}
inline __m256i signed_bytes(const BlockIQ4_NL& block) { return level_bytes(block.q, kIq4Levels); }
inline __m256i signed_bytes(const BlockMXFP4& block) { return level_bytes(block.q, kMxfp4Levels); }

inline __m256i unsigned_bytes(const BlockQ4_1& block) { return nibbles(block.q); }
inline __m256i unsigned_bytes(const BlockQ5_1& block) {
  return _mm256_or_si256(nibbles(block.q), fifth_bits(block.high));
}

template <typename Block>
inline float scale_of(const Block& block) {
  return half_at(block.d);
}
inline float scale_of(const BlockMXFP4& block) { return half_e8m0(block.e); }

}  // namespace flashmoe::FLASHMOE_ISA
