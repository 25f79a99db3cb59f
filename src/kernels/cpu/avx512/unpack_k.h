// The K formats unpacked to bytes, AVX-512.
#pragma once

#include "kernels/cpu/avx512/int8_dot.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace flashmoe::avx512 {

inline void unpack_scales(const uint8_t* d, const uint8_t* dmin, const uint8_t packed[12], KWeights& to) {
  const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8);
  const uint64_t scales = (a & 0x3f3f3f3fu) | static_cast<uint64_t>((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
  const uint64_t mins = (b & 0x3f3f3f3fu) | static_cast<uint64_t>((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u))
                                                << 32;
  const auto widen = [](uint64_t bytes, const uint8_t* factor) {
    const __m256i wide = _mm256_cvtepu8_epi32(eight_bytes(bytes));
    return _mm512_zextps256_ps512(_mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(half_at(factor))));
  };
  to.scale = widen(scales, d);
  to.min = widen(mins, dmin);
}

inline __m512i two_nibbles(const uint8_t* q) {  // 32 bytes: low nibbles, then high nibbles
  const __m512i twice = _mm512_broadcast_i64x4(load32(q));
  const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
  return _mm512_and_si512(_mm512_srlv_epi16(twice, shift), _mm512_set1_epi8(15));
}

// Of the 32 bytes that are in both halves of `twice`: bits 4 r and 4 r + 1, then bits 4 r + 2 and 4 r + 3.
inline __m512i two_bit_pairs(__m512i twice, int r) {
  const __m512i shift =
      pair(_mm256_set1_epi16(static_cast<int16_t>(4 * r)), _mm256_set1_epi16(static_cast<int16_t>(4 * r + 2)));
  return _mm512_and_si512(_mm512_srlv_epi16(twice, shift), _mm512_set1_epi8(3));
}

// Bit g of 32 bytes in the lower half, bit g + 1 in the upper.
inline __m512i two_bits(int g) {
  return pair(_mm256_set1_epi8(static_cast<char>(1 << g)), _mm256_set1_epi8(static_cast<char>(2 << g)));
}

inline KWeights unpack(const BlockQ4_K& block) {
  KWeights to;
  unpack_scales(block.d, block.dmin, block.scales, to);
  for (int g = 0; g < 4; ++g) to.q[g] = two_nibbles(block.q + 32 * g);
  return to;
}

inline KWeights unpack(const BlockQ5_K& block) {
  KWeights to;
  unpack_scales(block.d, block.dmin, block.scales, to);
  const __m512i high = _mm512_broadcast_i64x4(load32(block.high));
  for (int g = 0; g < 4; ++g) {
    const __mmask64 set = _mm512_test_epi8_mask(high, two_bits(2 * g));
    const __m512i low = two_nibbles(block.q + 32 * g);
    to.q[g] = _mm512_mask_add_epi8(low, set, low, _mm512_set1_epi8(16));
  }
  return to;
}

inline __m512 signed_scales(__m128i steps, const uint8_t* d) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(steps)), _mm512_set1_ps(half_at(d)));
}

inline SignedWeights unpack(const BlockQ6_K& block) {
  SignedWeights to;
  to.scale = signed_scales(load16(block.scales), block.d);
  for (int half = 0; half < 2; ++half) {
    const __m512i low = _mm512_loadu_si512(block.low + 64 * half);
    const __m512i high = _mm512_broadcast_i64x4(load32(block.high + 32 * half));
    for (int r = 0; r < 2; ++r) {  // runs 2 r and 2 r + 1 of 32 values
      const __m512i nibbles =
          _mm512_and_si512(_mm512_srli_epi16(low, static_cast<unsigned>(4 * r)), _mm512_set1_epi8(15));
      const __m512i q = _mm512_or_si512(nibbles, _mm512_slli_epi16(two_bit_pairs(high, r), 4));
      to.q[2 * half + r] = _mm512_sub_epi8(q, _mm512_set1_epi8(32));
    }
  }
  set_starts(to);
  return to;
}

inline SignedWeights unpack(const BlockQ3_K& block) {
  SignedWeights to;
  const uint64_t low = long_at(block.scales), high = word_at(block.scales + 8);
  constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f, kBits = 0x0303030303030303;
  const __m128i steps = sixteen_bytes((low & kNibbles) | ((high | high << 30) & kBits) << 4,
                                      (low >> 4 & kNibbles) | ((high >> 4 | high >> 6 << 32) & kBits) << 4);
  to.scale = signed_scales(_mm_sub_epi8(steps, _mm_set1_epi8(32)), block.d);
  const __m512i thirds = _mm512_broadcast_i64x4(load32(block.high));
  for (int g = 0; g < 4; ++g) {
    const __m512i q = two_bit_pairs(_mm512_broadcast_i64x4(load32(block.q + g / 2 * 32)), g % 2);
    const __mmask64 clear = _mm512_testn_epi8_mask(thirds, two_bits(2 * g));
    to.q[g] = _mm512_mask_sub_epi8(q, clear, q, _mm512_set1_epi8(4));
  }
  set_starts(to);
  return to;
}

inline FineKWeights unpack(const BlockQ2_K& block) {
  FineKWeights to;
  const __m128i steps = load16(block.scales), nibble = _mm_set1_epi8(15);
  to.scale = signed_scales(_mm_and_si128(steps, nibble), block.d);
  to.min = signed_scales(_mm_and_si128(_mm_srli_epi16(steps, 4), nibble), block.dmin);
  for (int g = 0; g < 4; ++g) {
    to.q[g] = two_bit_pairs(_mm512_broadcast_i64x4(load32(block.q + g / 2 * 32)), g % 2);
  }
  return to;
}

}  // namespace flashmoe::avx512
