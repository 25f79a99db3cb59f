// Dot products of int8 activations with unpacked weights, AVX-512 VNNI.
//
// Weights are unpacked 64 to a register, as bytes. vpdpbusd multiplies unsigned by signed bytes and sums fours, so a
// lane holds the dot product of 4 values; 8 lanes make one block of 32 and are scaled together in f32.
// Formats with a minimum keep weights unsigned, and the minimum meets the sum of the activations. Signed weights take
// activations shifted to unsigned (x + 128): the excess, 128 sum(w), depends on the weights alone and is where the
// lane starts.
#pragma once

#include "kernels/cpu/avx512/vec.h"

namespace flashmoe::avx512 {

inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m512i pair(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
inline __m256i pair(__m128i low, __m128i high) { return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1); }
inline __m512 pair(float low, float high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_set1_ps(low)), _mm256_set1_ps(high), 1);
}
inline float half_at(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, sizeof(half));
  return _cvtsh_ss(half);
}
inline uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}
inline uint64_t long_at(const uint8_t* p) {
  uint64_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}
inline __m128i eight_bytes(uint64_t bytes) { return _mm_cvtsi64_si128(static_cast<long long>(bytes)); }
inline __m128i sixteen_bytes(uint64_t low, uint64_t high) {
  return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
}

// Sums of fours of x (signed) times w (unsigned), as f32.
inline __m512 dot4(__m512i w, const int8_t* x) {
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_loadu_si512(x)));
}
// The same for signed w, started at -128 sum(w).
inline __m512i signed_start(__m512i w) {
  const __m512i excess = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(-128), w);
  return _mm512_sub_epi32(_mm512_setzero_si512(), excess);
}
inline __m512 signed_dot4(__m512i start, __m512i w, __m512i x) {
  const __m512i shifted = _mm512_xor_si512(x, _mm512_set1_epi8(-128));
  return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, shifted, w));
}
// Lane l takes value first + l / lanes_each of the table.
inline __m512 spread(__m512 table, int first, int lanes_each) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i index = _mm512_srli_epi32(lane, lanes_each == 8 ? 3 : lanes_each == 4 ? 2 : 1);
  return _mm512_permutexvar_ps(_mm512_add_epi32(index, _mm512_set1_epi32(first)), table);
}
// The activation scales of a superblock, each twice: one for each 16 values.
inline __m512 sixteen_scales(const float* scale) {
  return spread(_mm512_zextps256_ps512(_mm256_loadu_ps(scale)), 0, 2);
}

// 256 unsigned weights with a scale and a minimum for each 32.
struct KWeights {
  __m512i q[4];
  __m512 scale, min;  // of the 8 groups; upper lanes zero
};

inline void add(const KWeights& w, const int8_t* q8, const float* scale, const float* sum, __m512 sums[2]) {
  const __m512 scales = _mm512_mul_ps(w.scale, _mm512_zextps256_ps512(_mm256_loadu_ps(scale)));
  sums[0] = _mm512_fnmadd_ps(w.min, _mm512_zextps256_ps512(_mm256_loadu_ps(sum)), sums[0]);
  for (int g = 0; g < 4; ++g) {
    sums[g % 2] = _mm512_fmadd_ps(dot4(w.q[g], q8 + 64 * g), spread(scales, 2 * g, 8), sums[g % 2]);
  }
}

// 256 unsigned weights with a scale and a minimum for each 16, of which the activations have no sums.
struct FineKWeights {
  __m512i q[4];
  __m512 scale, min;  // of the 16 groups
};

inline void add(const FineKWeights& w, const int8_t* q8, const float* scale, const float*, __m512 sums[2]) {
  const __m512 x_scales = sixteen_scales(scale);
  const __m512 scales = _mm512_mul_ps(w.scale, x_scales), mins = _mm512_mul_ps(w.min, x_scales);
  for (int g = 0; g < 4; ++g) {
    const __m512 totals = dot4(_mm512_set1_epi8(1), q8 + 64 * g);
    sums[g % 2] = _mm512_fmadd_ps(dot4(w.q[g], q8 + 64 * g), spread(scales, 4 * g, 4), sums[g % 2]);
    sums[g % 2] = _mm512_fnmadd_ps(totals, spread(mins, 4 * g, 4), sums[g % 2]);
  }
}

// 256 signed weights.
struct SignedWeights {
  __m512i q[4], start[4];
  __m512 scale;  // of the 16 groups of 16 values
};

inline void set_starts(SignedWeights& w) {
  for (int g = 0; g < 4; ++g) w.start[g] = signed_start(w.q[g]);
}

inline void add(const SignedWeights& w, const int8_t* q8, const float* scale, const float*, __m512 sums[2]) {
  const __m512 scales = _mm512_mul_ps(w.scale, sixteen_scales(scale));
  for (int g = 0; g < 4; ++g) {
    const __m512 dots = signed_dot4(w.start[g], w.q[g], _mm512_loadu_si512(q8 + 64 * g));
    sums[g % 2] = _mm512_fmadd_ps(dots, spread(scales, 4 * g, 4), sums[g % 2]);
  }
}

// 256 weights as magnitudes and signs: the signs go to the activations.
struct MaskedWeights {
  __m512i q[4];
  uint64_t negative[4];  // a bit for each value
  __m512 scale;          // of the 16 groups of 16 values
};

inline void add(const MaskedWeights& w, const int8_t* q8, const float* scale, const float*, __m512 sums[2]) {
  const __m512 scales = _mm512_mul_ps(w.scale, sixteen_scales(scale));
  for (int g = 0; g < 4; ++g) {
    const __m512i x = _mm512_loadu_si512(q8 + 64 * g);
    const __m512i moved = _mm512_mask_sub_epi8(x, w.negative[g], _mm512_setzero_si512(), x);
    const __m512 dots = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w.q[g], moved));
    sums[g % 2] = _mm512_fmadd_ps(dots, spread(scales, 4 * g, 4), sums[g % 2]);
  }
}

// One or two blocks of 32 values: 64 activations, or 32 and zeros; and their scales (or sums), 8 lanes each.
template <int kBlocks>
inline __m512i load_blocks(const int8_t* q8) {
  if constexpr (kBlocks == 2) return _mm512_loadu_si512(q8);
  return _mm512_zextsi256_si512(load32(q8));
}
template <int kBlocks>
inline __m512 by_block(const float* of_blocks) {
  if constexpr (kBlocks == 2) return pair(of_blocks[0], of_blocks[1]);
  return _mm512_zextps256_ps512(_mm256_set1_ps(of_blocks[0]));
}

// One or two blocks of 32 signed weights.
template <int kBlocks>
struct PairWeights {
  __m512i q, start;
  __m512 scale;  // 8 lanes each
};

template <int kBlocks>
inline void add(const PairWeights<kBlocks>& w, const int8_t* q8, const float* scale, const float*, __m512& sums) {
  const __m512 dots = signed_dot4(w.start, w.q, load_blocks<kBlocks>(q8));
  sums = _mm512_fmadd_ps(dots, _mm512_mul_ps(w.scale, by_block<kBlocks>(scale)), sums);
}

// One or two blocks of 32 unsigned weights with a minimum, which is added.
template <int kBlocks>
struct MinPairWeights {
  __m512i q;
  __m512 scale, min;  // 8 lanes each; an eighth of the minimum, since all 8 are summed
};

template <int kBlocks>
inline void add(const MinPairWeights<kBlocks>& w, const int8_t* q8, const float* scale, const float* sum,
                __m512& sums) {
  const __m512i dots = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.q, load_blocks<kBlocks>(q8));
  sums = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(w.scale, by_block<kBlocks>(scale)), sums);
  sums = _mm512_fmadd_ps(w.min, by_block<kBlocks>(sum), sums);
}

}  // namespace flashmoe::avx512
