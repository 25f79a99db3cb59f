// The K formats unpacked to bytes, AVX2.
//
// Formats of 256 values with signed weights have signed_run(block, r), values [32 r, 32 r + 32), and
// group_scales(block, to), the scales of the 16 groups of 16 values.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace flashmoe::avx2 {

// The 8 scales and minimums of Q4_K and Q5_K.
struct KScales {
  __m256 scale, min;
};

inline KScales unpack_scales(const uint8_t* d, const uint8_t* dmin, const uint8_t packed[12]) {
  const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8);
  const uint64_t scales = (a & 0x3f3f3f3fu) | static_cast<uint64_t>((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
  const uint64_t mins = (b & 0x3f3f3f3fu) | static_cast<uint64_t>((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u))
                                                << 32;
  const auto widen = [](uint64_t bytes, const uint8_t* factor) {
    const __m256i wide = _mm256_cvtepu8_epi32(eight_bytes(bytes));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(half_at(factor)));
  };
  return {widen(scales, d), widen(mins, dmin)};
}

// Groups 2 g and 2 g + 1 of a superblock, unsigned.
inline void two_groups(const BlockQ4_K& block, int g, __m256i q[2]) {
  const __m256i both = load32(block.q + 32 * g), nibble = _mm256_set1_epi8(15);
  q[0] = _mm256_and_si256(both, nibble);
  q[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
}
inline void two_groups(const BlockQ5_K& block, int g, __m256i q[2]) {
  const __m256i both = load32(block.q + 32 * g), nibble = _mm256_set1_epi8(15);
  const __m256i high = _mm256_srlv_epi32(load32(block.high), _mm256_set1_epi32(2 * g)), fifth = _mm256_set1_epi8(16);
  q[0] = _mm256_or_si256(_mm256_and_si256(both, nibble), _mm256_and_si256(_mm256_slli_epi16(high, 4), fifth));
  q[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(both, 4), nibble),
                         _mm256_and_si256(_mm256_slli_epi16(high, 3), fifth));
}

inline SignedBytes signed_run(const BlockQ6_K& block, int run) {
  const int half = run / 4, r = run % 4;
  const __m256i low = load32(block.low + 64 * half + 32 * (r % 2)), high = load32(block.high + 32 * half);
  const __m256i nibbles = _mm256_and_si256(_mm256_srli_epi16(low, r / 2 * 4), _mm256_set1_epi8(15));
  const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(high, r * 2), _mm256_set1_epi8(3));
  const __m256i q = _mm256_or_si256(nibbles, _mm256_slli_epi16(bits, 4));
  return signed_bytes_of(_mm256_sub_epi8(q, _mm256_set1_epi8(32)));
}
inline void group_scales(const BlockQ6_K& block, float to[16]) {
  store_scales(load16(block.scales), half_at(block.d), to);
}

// Run r of the bit pairs of Q2_K and Q3_K.
inline __m256i bit_pairs(const uint8_t q[64], int run) {
  return _mm256_and_si256(_mm256_srli_epi16(load32(q + run / 4 * 32), run % 4 * 2), _mm256_set1_epi8(3));
}

inline SignedBytes signed_run(const BlockQ3_K& block, int run) {
  const __m256i third = _mm256_and_si256(_mm256_srli_epi16(load32(block.high), run), _mm256_set1_epi8(1));
  const __m256i q = _mm256_or_si256(bit_pairs(block.q, run), _mm256_slli_epi16(third, 2));
  return signed_bytes_of(_mm256_sub_epi8(q, _mm256_set1_epi8(4)));
}
inline void group_scales(const BlockQ3_K& block, float to[16]) {
  const uint64_t low = long_at(block.scales), high = word_at(block.scales + 8);
  constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f, kBits = 0x0303030303030303;
  const __m128i steps = sixteen_bytes((low & kNibbles) | ((high | high << 30) & kBits) << 4,
                                      (low >> 4 & kNibbles) | ((high >> 4 | high >> 6 << 32) & kBits) << 4);
  store_scales(_mm_sub_epi8(steps, _mm_set1_epi8(32)), half_at(block.d), to);
}

inline __m256i unsigned_run(const BlockQ2_K& block, int run) { return bit_pairs(block.q, run); }
inline void group_scales(const BlockQ2_K& block, float to[16]) {
  store_scales(_mm_and_si128(load16(block.scales), _mm_set1_epi8(15)), half_at(block.d), to);
}
inline void group_mins(const BlockQ2_K& block, float to[16]) {
  store_scales(_mm_and_si128(_mm_srli_epi16(load16(block.scales), 4), _mm_set1_epi8(15)), half_at(block.dmin), to);
}

}  // namespace flashmoe::avx2
