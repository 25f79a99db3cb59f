// Matmuls on int8 activations with AVX2.
//
// Weights are unpacked 32 to a register, as bytes. vpmaddubsw multiplies unsigned by signed bytes and sums pairs in 16
// bits with saturation, which is never met: |x| <= 127 and unsigned weights are at most 31, while signed weights go in
// as |w| <= 128 with their sign moved to x, and 2 * 128 * 127 < 2^15. A lane ends up with the dot product of 4 values.
// Formats with a minimum keep weights unsigned, and the minimum meets the sum of the activations.
#pragma once

#include "kernels/cpu/avx2/vec.h"
#include "kernels/cpu/tables.h"
#include "quant/q4_0.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe::avx2 {

inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline float half_at(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, sizeof(half));
  return _cvtsh_ss(half);
}
// Sums of fours of w (unsigned) times x (signed), as f32.
inline __m256 dot4(__m256i w, __m256i x) {
  return _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
inline __m256 signed_dot4(__m256i w, __m256i x) { return dot4(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)); }

// The 8 scales and minimums of Q4_K and Q5_K.
struct KScales {
  __m256 scale, min;
};

inline KScales unpack_scales(const uint8_t* d, const uint8_t* dmin, const uint8_t packed[12]) {
  uint32_t a, b, c;
  __builtin_memcpy(&a, packed, 4);
  __builtin_memcpy(&b, packed + 4, 4);
  __builtin_memcpy(&c, packed + 8, 4);
  const uint64_t scales = (a & 0x3f3f3f3fu) | static_cast<uint64_t>((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
  const uint64_t mins = (b & 0x3f3f3f3fu) | static_cast<uint64_t>((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u))
                                                << 32;
  const auto widen = [](uint64_t bytes, const uint8_t* factor) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
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

// Q4_K and Q5_K.
template <typename Block>
struct MinDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    __m256 sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const Block& block = blocks[b];
      const KScales k = unpack_scales(block.d, block.dmin, block.scales);
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      float scales[N][8];
      for (int i = 0; i < N; ++i) {
        const int64_t at = ((first + i) * n_blocks + b) * 8;
        _mm256_storeu_ps(scales[i], _mm256_mul_ps(k.scale, _mm256_loadu_ps(x.scale + at)));
        sums[i][0] = _mm256_fnmadd_ps(k.min, _mm256_loadu_ps(x.sum + at), sums[i][0]);
      }
      for (int g = 0; g < 4; ++g) {
        __m256i q[2];
        two_groups(block, g, q);
        for (int i = 0; i < N; ++i) {
          for (int h = 0; h < 2; ++h) {
            const __m256 dots = dot4(q[h], load32(q8 + i * x.cols + 64 * g + 32 * h));
            sums[i][h] = _mm256_fmadd_ps(dots, _mm256_broadcast_ss(&scales[i][2 * g + h]), sums[i][h]);
          }
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_add_ps(sums[i][0], sums[i][1])});
  }
};

// Run r of 32 values of a Q6_K superblock, signed.
inline __m256i signed_run(const BlockQ6_K& block, int run) {
  const int half = run / 4, r = run % 4;
  const __m256i low = load32(block.low + 64 * half + 32 * (r % 2)), high = load32(block.high + 32 * half);
  const __m256i nibbles = _mm256_and_si256(_mm256_srli_epi16(low, r / 2 * 4), _mm256_set1_epi8(15));
  const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(high, r * 2), _mm256_set1_epi8(3));
  return _mm256_sub_epi8(_mm256_or_si256(nibbles, _mm256_slli_epi16(bits, 4)), _mm256_set1_epi8(32));
}

struct Q6Dot {
  static constexpr int64_t kBlockValues = BlockQ6_K::kValues, kBlockBytes = sizeof(BlockQ6_K);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const BlockQ6_K*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    __m256 sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const BlockQ6_K& block = blocks[b];
      const __m256 d = _mm256_set1_ps(half_at(block.d));
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      const float* scale = x.scale + (first * n_blocks + b) * 8;
      for (int run = 0; run < 8; ++run) {
        const __m256i q = signed_run(block, run);
        // Two groups of 16 values: 4 lanes each.
        const __m256i steps =
            _mm256_setr_m128i(_mm_set1_epi32(block.scales[2 * run]), _mm_set1_epi32(block.scales[2 * run + 1]));
        const __m256 group_scale = _mm256_mul_ps(d, _mm256_cvtepi32_ps(steps));
        for (int i = 0; i < N; ++i) {
          const __m256 dots = signed_dot4(q, load32(q8 + i * x.cols + 32 * run));
          const __m256 both = _mm256_mul_ps(group_scale, _mm256_broadcast_ss(scale + i * n_blocks * 8 + run));
          sums[i][run % 2] = _mm256_fmadd_ps(dots, both, sums[i][run % 2]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_add_ps(sums[i][0], sums[i][1])});
  }
};

inline __m256i signed_bytes(const BlockQ8_0& block) { return load32(block.q); }
inline __m256i signed_bytes(const BlockQ4_0& block) {
  const __m128i q = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.q));
  const __m256i both = _mm256_setr_m128i(q, _mm_srli_epi16(q, 4));
  return _mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8));
}

// Q8_0 and Q4_0.
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
    __m256 sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    const auto add = [&](int64_t b, int chain) {
      const __m256i q = signed_bytes(blocks[b]);
      const float d = half_at(blocks[b].d);
      for (int i = 0; i < N; ++i) {
        const __m256 dots = signed_dot4(q, load32(q8 + i * x.cols + b * kBlockValues));
        sums[i][chain] = _mm256_fmadd_ps(dots, _mm256_set1_ps(d * scale[i * n_blocks + b]), sums[i][chain]);
      }
    };
    int64_t b = 0;
    for (; b + 2 <= n_blocks; b += 2) {
      add(b, 0);
      add(b + 1, 1);
    }
    if (b < n_blocks) add(b, 0);
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_add_ps(sums[i][0], sums[i][1])});
  }
};

}  // namespace flashmoe::avx2
