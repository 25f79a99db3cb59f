// The K formats unpacked to bytes, AVX-512. Bits stay where they are as far as possible: see Form::steps, Order.
#pragma once

#include "kernels/cpu/avx512/unpacked.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace flashmoe::avx512 {

constexpr Form form_of(const BlockQ4_K*) { return {Kind::kWhole}; }
constexpr Form form_of(const BlockQ5_K*) { return {Kind::kMinimum, 0, Order::kEvenHalves}; }
constexpr Form form_of(const BlockQ6_K*) { return {Kind::kFine, 32}; }
constexpr Form form_of(const BlockQ3_K*) { return {Kind::kFine, 4, Order::kRuns, {0, 2, 4, 4}}; }
constexpr Form form_of(const BlockQ2_K*) { return {Kind::kFineMinimum, 0, Order::kDiagonals, {0, 2, 4, 6}}; }

inline __m512i every(int byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }

// a | (b & mask)
inline __m512i or_masked(__m512i a, __m512i b, __m512i mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }
// A 32-bit count for each 128 bits.
inline __m512i by_lane(int a, int b, int c, int d) {
  return _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
}

// The 6-bit scales and minimums of Q4_K and Q5_K, 8 bytes each: quant/q4_k.h has their layout.
struct SixBitBytes {
  uint64_t scales, mins;
  explicit SixBitBytes(const uint8_t packed[12]) {
    const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8);
    scales = (a & 0x3f3f3f3fu) | static_cast<uint64_t>((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
    mins = (b & 0x3f3f3f3fu) | static_cast<uint64_t>((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)) << 32;
  }
};

// The first and the second halves of four pieces of 32 bytes: low nibbles are even blocks, high nibbles odd ones.
struct NibbleHalves {
  __m512i first, second;
  explicit NibbleHalves(const uint8_t q[128]) {
    const __m512i front = _mm512_loadu_si512(q), back = _mm512_loadu_si512(q + 64);
    first = _mm512_shuffle_i64x2(front, back, 0x88);
    second = _mm512_shuffle_i64x2(front, back, 0xdd);
  }
};

inline Unpacked unpack(const BlockQ5_K* block) {
  Unpacked to = {};
  static_assert(offsetof(BlockQ5_K, dmin) == offsetof(BlockQ5_K, d) + 2);
  const TwoHalves factors(block->d);
  const SixBitBytes steps(block->scales);
  const auto widen = [](uint64_t bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight_bytes(bytes))); };
  to.scale = _mm256_mul_ps(widen(steps.scales), factors.first);
  to.min = _mm256_mul_ps(widen(steps.mins), factors.second);
  const NibbleHalves both(block->q);
  const __m512i bytes[2] = {both.first, both.second};
  // Bit 2 l of a byte to bit 4 in lane l for the even blocks, and bit 2 l + 1 for the odd ones.
  const __m512i even = by_lane(4, 2, 0, 30), odd = by_lane(3, 1, 31, 29);
  for (int half = 0; half < 2; ++half) {
    const __m512i high = _mm512_broadcast_i32x4(load16(block->high + 16 * half));
    const __m512i low = _mm512_and_si512(bytes[half], every(15));
    const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(bytes[half], 4), every(15));
    to.q[half] = or_masked(low, _mm512_rolv_epi32(high, even), every(16));
    to.q[2 + half] = or_masked(upper, _mm512_rolv_epi32(high, odd), every(16));
  }
  return to;
}

inline Unpacked unpack(const BlockQ6_K* block) {
  Unpacked to = {};
  to.fine = load16(block->scales);
  to.scale = half_everywhere(block->d);
  for (int half = 0; half < 2; ++half) {
    const __m512i low = _mm512_loadu_si512(block->low + 64 * half);
    const __m512i high = _mm512_broadcast_i64x4(load32(block->high + 32 * half));
    const __m512i nibbles = _mm512_and_si512(low, every(15));
    const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(low, 4), every(15));
    // Bits 2 r and 2 r + 1 to bits 4 and 5, for runs r of 32 values.
    to.q[2 * half] = or_masked(nibbles, _mm512_sllv_epi32(high, by_lane(4, 4, 2, 2)), every(0x30));
    to.q[2 * half + 1] = or_masked(upper, _mm512_srlv_epi32(high, by_lane(0, 0, 2, 2)), every(0x30));
  }
  return to;
}

inline Unpacked unpack(const BlockQ3_K* block) {
  Unpacked to = {};
  const uint64_t low = long_at(block->scales), high = word_at(block->scales + 8);
  constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f, kBits = 0x0303030303030303;
  const __m128i steps = sixteen_bytes((low & kNibbles) | ((high | high << 30) & kBits) << 4,
                                      (low >> 4 & kNibbles) | ((high >> 4 | high >> 6 << 32) & kBits) << 4);
  to.fine = _mm_sub_epi8(steps, _mm_set1_epi8(32));
  to.scale = _mm256_mul_ps(half_everywhere(block->d), _mm256_set1_ps(0.0625f));
  const __m512i pairs = _mm512_loadu_si512(block->q);
  // Bit r of the lower half and bit r + 4 of the upper belong to run r: both to bit 2 r + 2, of run 3 to bit 6.
  const __m512i thirds = _mm512_broadcast_i64x4(load32(block->high));
  const __m512i bits = _mm512_srlv_epi32(thirds, by_lane(0, 0, 4, 4));
  to.q[0] = or_masked(_mm512_and_si512(pairs, every(3)), _mm512_slli_epi32(bits, 2), every(4));
  const __m512i by_three = _mm512_slli_epi32(bits, 3);
  to.q[1] = or_masked(_mm512_and_si512(pairs, every(12)), by_three, every(16));
  to.q[2] = or_masked(_mm512_and_si512(pairs, every(48)), _mm512_slli_epi32(bits, 4), every(64));
  to.q[3] = or_masked(_mm512_and_si512(_mm512_srli_epi32(pairs, 2), every(48)), by_three, every(64));
  return to;
}

inline Unpacked unpack(const BlockQ2_K* block) {
  Unpacked to = {};
  const __m128i steps = load16(block->scales), nibble = _mm_set1_epi8(15);
  to.fine = _mm_and_si128(steps, nibble);
  to.fine_min = _mm_and_si128(_mm_srli_epi16(steps, 4), nibble);
  static_assert(offsetof(BlockQ2_K, dmin) == offsetof(BlockQ2_K, d) + 2);
  const TwoHalves factors(block->d);
  to.scale = _mm256_mul_ps(factors.first, _mm256_set1_ps(0.015625f));
  to.min = factors.second;
  const __m512i pairs = _mm512_loadu_si512(block->q);
  const __m512i runs = _mm512_set4_epi32(static_cast<int>(0xc0c0c0c0), 0x30303030, 0x0c0c0c0c, 0x03030303);
  to.q[0] = _mm512_and_si512(pairs, runs);
  to.q[1] = _mm512_and_si512(_mm512_shuffle_epi32(pairs, _MM_PERM_ADCB), runs);
  to.q[2] = _mm512_and_si512(_mm512_shuffle_epi32(pairs, _MM_PERM_BADC), runs);
  to.q[3] = _mm512_and_si512(_mm512_shuffle_epi32(pairs, _MM_PERM_CBAD), runs);
  return to;
}

}  // namespace flashmoe::avx512
