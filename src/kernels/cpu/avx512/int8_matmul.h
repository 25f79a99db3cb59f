// Matmuls on int8 activations with AVX-512 VNNI.
//
// Weights are unpacked 64 to a register, as bytes. vpdpbusd multiplies unsigned by signed bytes and sums fours, so a
// lane holds the dot product of 4 values; 8 lanes make one block of 32 and are scaled together in f32.
// Formats with a minimum keep weights unsigned, and the minimum meets the sum of the activations. Signed weights take
// activations shifted to unsigned (x + 128): the excess, 128 sum(w), depends on the weights alone and is where the
// lane starts.
#pragma once

#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/tables.h"
#include "quant/q4_0.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe::avx512 {

inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m512i pair(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
inline float half_at(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, sizeof(half));
  return _cvtsh_ss(half);
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

// A superblock of Q4_K or Q5_K.
struct KWeights {
  __m512i q[4];
  __m512 scale, min;  // of the 8 groups; upper lanes zero
};

inline void unpack_scales(const uint8_t* d, const uint8_t* dmin, const uint8_t packed[12], KWeights& to) {
  uint32_t a, b, c;
  __builtin_memcpy(&a, packed, 4);
  __builtin_memcpy(&b, packed + 4, 4);
  __builtin_memcpy(&c, packed + 8, 4);
  const uint64_t scales = (a & 0x3f3f3f3fu) | static_cast<uint64_t>((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
  const uint64_t mins = (b & 0x3f3f3f3fu) | static_cast<uint64_t>((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u))
                                                << 32;
  const auto widen = [](uint64_t bytes, const uint8_t* factor) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
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
    const __m512i bit =
        pair(_mm256_set1_epi8(static_cast<char>(1 << 2 * g)), _mm256_set1_epi8(static_cast<char>(2 << 2 * g)));
    const __mmask64 set = _mm512_test_epi8_mask(high, bit);
    const __m512i low = two_nibbles(block.q + 32 * g);
    to.q[g] = _mm512_mask_add_epi8(low, set, low, _mm512_set1_epi8(16));
  }
  return to;
}

inline void add(const KWeights& w, const int8_t* q8, const float* scale, const float* sum, __m512 sums[2]) {
  const __m512 scales = _mm512_mul_ps(w.scale, _mm512_zextps256_ps512(_mm256_loadu_ps(scale)));
  sums[0] = _mm512_fnmadd_ps(w.min, _mm512_zextps256_ps512(_mm256_loadu_ps(sum)), sums[0]);
  for (int g = 0; g < 4; ++g) {
    sums[g % 2] = _mm512_fmadd_ps(dot4(w.q[g], q8 + 64 * g), spread(scales, 2 * g, 8), sums[g % 2]);
  }
}

// A superblock of Q6_K, signed.
struct Q6Weights {
  __m512i q[4], start[4];
  __m512 scale;  // of the 16 groups
};

inline Q6Weights unpack(const BlockQ6_K& block) {
  Q6Weights to;
  const __m128i scales = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales));
  to.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(scales)), _mm512_set1_ps(half_at(block.d)));
  for (int half = 0; half < 2; ++half) {
    const __m512i low = _mm512_loadu_si512(block.low + 64 * half);
    const __m512i high = _mm512_broadcast_i64x4(load32(block.high + 32 * half));
    for (int r = 0; r < 2; ++r) {  // runs 2 r and 2 r + 1 of 32 values: bits 4 r and 4 r + 2 of `high`
      const __m512i nibbles =
          _mm512_and_si512(_mm512_srli_epi16(low, static_cast<unsigned>(4 * r)), _mm512_set1_epi8(15));
      const __m512i shift =
          pair(_mm256_set1_epi16(static_cast<int16_t>(4 * r)), _mm256_set1_epi16(static_cast<int16_t>(4 * r + 2)));
      const __m512i bits = _mm512_and_si512(_mm512_srlv_epi16(high, shift), _mm512_set1_epi8(3));
      const __m512i q = _mm512_or_si512(nibbles, _mm512_slli_epi16(bits, 4));
      to.q[2 * half + r] = _mm512_sub_epi8(q, _mm512_set1_epi8(32));
    }
  }
  for (int g = 0; g < 4; ++g) to.start[g] = signed_start(to.q[g]);
  return to;
}

inline void add(const Q6Weights& w, const int8_t* q8, const float* scale, const float*, __m512 sums[2]) {
  const __m512 scales = _mm512_mul_ps(w.scale, spread(_mm512_zextps256_ps512(_mm256_loadu_ps(scale)), 0, 2));
  for (int g = 0; g < 4; ++g) {
    const __m512 dots = signed_dot4(w.start[g], w.q[g], _mm512_loadu_si512(q8 + 64 * g));
    sums[g % 2] = _mm512_fmadd_ps(dots, spread(scales, 4 * g, 4), sums[g % 2]);
  }
}

// One or two blocks of 32 signed weights.
template <int kBlocks>
struct PairWeights {
  __m512i q, start;
  __m512 scale;  // 8 lanes each
};

inline __m256i signed_bytes(const BlockQ8_0& block) { return load32(block.q); }
inline __m256i signed_bytes(const BlockQ4_0& block) {
  const __m128i q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.q));
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(q), _mm_srli_epi16(q, 4), 1);
  return _mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8));
}

template <int kBlocks, typename Block>
inline PairWeights<kBlocks> unpack_pair(const Block* blocks) {
  PairWeights<kBlocks> to;
  const __m256 scale = _mm256_set1_ps(half_at(blocks[0].d));
  if constexpr (kBlocks == 2) {
    to.q = pair(signed_bytes(blocks[0]), signed_bytes(blocks[1]));
    to.scale = _mm512_insertf32x8(_mm512_castps256_ps512(scale), _mm256_set1_ps(half_at(blocks[1].d)), 1);
  } else {
    to.q = _mm512_zextsi256_si512(signed_bytes(blocks[0]));
    to.scale = _mm512_zextps256_ps512(scale);
  }
  to.start = signed_start(to.q);
  return to;
}

template <int kBlocks>
inline void add(const PairWeights<kBlocks>& w, const int8_t* q8, const float* scale, __m512& sums) {
  if constexpr (kBlocks == 2) {
    const __m512 scales =
        _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_set1_ps(scale[0])), _mm256_set1_ps(scale[1]), 1);
    const __m512 dots = signed_dot4(w.start, w.q, _mm512_loadu_si512(q8));
    sums = _mm512_fmadd_ps(dots, _mm512_mul_ps(w.scale, scales), sums);
  } else {
    const __m512 dots = signed_dot4(w.start, w.q, _mm512_zextsi256_si512(load32(q8)));
    sums = _mm512_fmadd_ps(dots, _mm512_mul_ps(w.scale, _mm512_set1_ps(scale[0])), sums);
  }
}

// Formats of 256 values.
template <typename Block>
struct SuperblockDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues, row_scales = x.cols / kActivationBlock;
    __m512 sums[N][2];
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const auto weights = unpack(blocks[b]);
      for (int i = 0; i < N; ++i) {
        const int64_t scales = (first + i) * row_scales + b * (kBlockValues / kActivationBlock);
        add(weights, x.q8 + (first + i) * x.cols + b * kBlockValues, x.scale + scales, x.sum + scales, sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = _mm512_reduce_add_ps(_mm512_add_ps(sums[i][0], sums[i][1]));
  }
};

// Formats of 32 values: two blocks at a time, then the odd one.
template <typename Block>
struct BlockDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);
  static_assert(kBlockValues == kActivationBlock);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    const int8_t* q8 = x.q8 + first * x.cols;
    const float* scale = x.scale + first * n_blocks;
    __m512 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm512_setzero_ps();
    int64_t b = 0;
    for (; b + 2 <= n_blocks; b += 2) {
      const auto weights = unpack_pair<2>(blocks + b);
      for (int i = 0; i < N; ++i) add(weights, q8 + i * x.cols + b * kBlockValues, scale + i * n_blocks + b, sums[i]);
    }
    if (b < n_blocks) {
      const auto weights = unpack_pair<1>(blocks + b);
      for (int i = 0; i < N; ++i) add(weights, q8 + i * x.cols + b * kBlockValues, scale + i * n_blocks + b, sums[i]);
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = _mm512_reduce_add_ps(sums[i]);
  }
};

}  // namespace flashmoe::avx512
