// Sums that stay whole over 256 values, AVX-512: of weights of at most 4 bits with whole-numbered scales and minimums
// (Kind::kWhole), times activations whose scales are whole multiples of one number (kernels.h).
//
// In block b weights are d s_b q - dmin m_b and activations A u_b x. The sum S_b of q x fits 16 bits, so that blocks
// 2 p and 2 p + 1 fit one register as pairs, and vpdpwssd adds both, times s u, to the whole-numbered sum of 256
// values:
//   y += A (d sum_b(s_b u_b S_b) - 16 dmin sum_b(m_b t_b)),  t_b = round(u_b sum(x) / 16)
// which takes 79 instructions of those that share two pipes, 64 of them vpdpbusd, where multiply-adds of f32 for each
// block take 88 (docs/experiments/0031-sums-that-stay-whole.md).
#pragma once

#include "kernels/cpu/avx512/unpack_columns.h"
#include "kernels/kernels.h"

namespace flashmoe::avx512 {

inline constexpr int64_t kMostWholeSum = 15 * kMostActivationSum, kMostWholeScale = 63;
inline constexpr float kSumStep = 16;  // of t
static_assert(kSuperblock == kActivationGroup);
static_assert(kMostWholeSum <= INT16_MAX && kMostWholeScale * kMostActivationScale <= INT16_MAX);
static_assert(8 * kMostWholeSum * kMostWholeScale * kMostActivationScale <= INT32_MAX);
static_assert(kMostActivationScale * kMostActivationSum / 16 < INT16_MAX);

// What goes with 256 activations of a row, in words: pairs of u, of t, and A.
inline constexpr int kPairs = 4, kScalesAt = 0, kSumsAt = kPairs, kUnitAt = 2 * kPairs, kWholeWords = 2 * kPairs + 1;

// Those of two rows' superblocks; `scale` and `sum` have 8 values of each.
struct WholeWords {
  __m256i scales, sums;  // pairs of 16 bits, 4 words a row
  __m512 unit;           // of a row in 8 lanes
};
inline WholeWords whole_words(__m512 scale, __m512 sum) {
  __m512 largest = _mm512_max_ps(scale, _mm512_shuffle_ps(scale, scale, 0xb1));
  largest = _mm512_max_ps(largest, _mm512_shuffle_ps(largest, largest, 0x4e));
  largest = _mm512_max_ps(largest, _mm512_shuffle_f32x4(largest, largest, 0xb1));
  const __m512 most = _mm512_set1_ps(kMostActivationScale);
  const __mmask16 any = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  const __m512 per_unit = _mm512_maskz_div_ps(any, most, largest);
  const __m512 per_step = _mm512_div_ps(per_unit, _mm512_set1_ps(kSumStep));
  const auto whole = [](__m512 values) { return _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(values)); };
  return {whole(_mm512_mul_ps(scale, per_unit)), whole(_mm512_mul_ps(sum, per_step)), _mm512_div_ps(largest, most)};
}

// Those of one.
inline void whole_words(const float* scale, const float* sum, int32_t to[kWholeWords]) {
  const WholeWords words =
      whole_words(_mm512_zextps256_ps512(_mm256_loadu_ps(scale)), _mm512_zextps256_ps512(_mm256_loadu_ps(sum)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + kScalesAt), _mm256_castsi256_si128(words.scales));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + kSumsAt), _mm256_castsi256_si128(words.sums));
  _mm_store_ss(reinterpret_cast<float*>(to + kUnitAt), _mm512_castps512_ps128(words.unit));
}

// Sums of the odd block of a pair, whose nibbles are the high ones and count sixteenfold, start from this: above the
// even block's, which are added to them, they leave 2^15 below, so that these borrow nothing.
inline constexpr int kOddStart = 8;
inline __m512i above(__m512i odd) { return _mm512_slli_epi32(odd, 12); }
inline __m512i as_pairs(__m512i sums) { return _mm512_xor_si512(sums, _mm512_set1_epi32(1 << 15)); }

// sums + s_b u_b S_b of both blocks of a pair.
inline __m512i add_pair(__m512i sums, __m512i pairs, __m512i weight_scales, __m512i x_scales) {
  return _mm512_dpwssd_epi32(sums, pairs, _mm512_mullo_epi16(weight_scales, x_scales));
}

// Of 256 values of 16 rows.
struct WholeFactors {
  __m512 d, dmin;  // dmin times kSumStep
};
inline __m512 add_superblock(__m512 total, __m512i sums, __m512i mins, const WholeFactors& w, __m512 unit) {
  const __m512 scaled = _mm512_mul_ps(w.d, _mm512_cvtepi32_ps(sums));
  return _mm512_fmadd_ps(_mm512_fnmadd_ps(w.dmin, _mm512_cvtepi32_ps(mins), scaled), unit, total);
}

// Bytes 2 (p mod 2) and the next of each word as a pair of 16 bits: blocks 2 p and 2 p + 1 of SixBitScales.
inline __m512i pair_of_bytes(__m512i words, int p) {
  const int order = p % 2 == 0 ? static_cast<int>(0x80018000u) : static_cast<int>(0x80038002u);
  const __m128i of_lane = _mm_add_epi32(_mm_set1_epi32(order), _mm_setr_epi32(0, 0x00040004, 0x00080008, 0x000c000c));
  return _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(of_lane));
}
inline WholeFactors whole_factors(const SixBitScales& scales) {
  return {scales.d, _mm512_mul_ps(scales.dmin, _mm512_set1_ps(kSumStep))};
}

}  // namespace flashmoe::avx512
