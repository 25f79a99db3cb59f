// Matmuls on int8 activations with AVX2: how rows are walked. What is done to a block: int8_dot.h.
#pragma once

#include "kernels/cpu/avx2/unpack_32.h"
#include "kernels/cpu/avx2/unpack_iq.h"
#include "kernels/cpu/avx2/unpack_k.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::avx2 {

// 256 unsigned values with a scale and a minimum for each 32: Q4_K and Q5_K.
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

// 256 signed values with a scale for each 16.
template <typename Block>
struct SignedDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    __m256 sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      const float* scale = x.scale + (first * n_blocks + b) * 8;
      float scales[16];
      group_scales(blocks[b], scales);
      for (int run = 0; run < 8; ++run) {
        const SignedBytes q = signed_run(blocks[b], run);
        const __m256 group_scale = two_scales(scales + 2 * run);
        for (int i = 0; i < N; ++i) {
          const __m256 dots = dot4(q, load32(q8 + i * x.cols + 32 * run));
          const __m256 both = _mm256_mul_ps(group_scale, _mm256_broadcast_ss(scale + i * n_blocks * 8 + run));
          sums[i][run % 2] = _mm256_fmadd_ps(dots, both, sums[i][run % 2]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_add_ps(sums[i][0], sums[i][1])});
  }
};

// 256 unsigned values with a scale and a minimum for each 16, of which the activations have no sums: Q2_K.
template <typename Block>
struct FineMinDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    __m256 sums[N][2];  // of the products, and of the minimums
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      const float* scale = x.scale + (first * n_blocks + b) * 8;
      float scales[16], mins[16];
      group_scales(blocks[b], scales);
      group_mins(blocks[b], mins);
      for (int run = 0; run < 8; ++run) {
        const __m256i q = unsigned_run(blocks[b], run);
        const __m256 group_scale = two_scales(scales + 2 * run), group_min = two_scales(mins + 2 * run);
        for (int i = 0; i < N; ++i) {
          const __m256i values = load32(q8 + i * x.cols + 32 * run);
          const __m256 x_scale = _mm256_broadcast_ss(scale + i * n_blocks * 8 + run);
          const __m256 totals = dot4(_mm256_set1_epi8(1), values);
          sums[i][0] = _mm256_fmadd_ps(dot4(q, values), _mm256_mul_ps(group_scale, x_scale), sums[i][0]);
          sums[i][1] = _mm256_fmadd_ps(totals, _mm256_mul_ps(group_min, x_scale), sums[i][1]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_sub_ps(sums[i][0], sums[i][1])});
  }
};

// 32 values: signed, or unsigned with a minimum `m`, which is added.
template <typename Block>
struct BlockDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);
  static_assert(kBlockValues == kActivationBlock);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    const int8_t* q8 = x.q8 + first * x.cols;
    const float *scale = x.scale + first * n_blocks, *sum = x.sum + first * n_blocks;
    __m256 sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    const auto add = [&](int64_t b, int chain) {
      const Block& block = blocks[b];
      const float d = scale_of(block);
      if constexpr (requires { block.m; }) {
        const __m256i q = unsigned_bytes(block);
        const float eighth = half_at(block.m) / 8;  // all 8 lanes are summed
        for (int i = 0; i < N; ++i) {
          const __m256 dots = dot4(q, load32(q8 + i * x.cols + b * kBlockValues));
          sums[i][chain] = _mm256_fmadd_ps(dots, _mm256_set1_ps(d * scale[i * n_blocks + b]), sums[i][chain]);
          sums[i][chain] = _mm256_add_ps(_mm256_set1_ps(eighth * sum[i * n_blocks + b]), sums[i][chain]);
        }
      } else {
        const SignedBytes q = signed_bytes_of(signed_bytes(block));
        for (int i = 0; i < N; ++i) {
          const __m256 dots = dot4(q, load32(q8 + i * x.cols + b * kBlockValues));
          sums[i][chain] = _mm256_fmadd_ps(dots, _mm256_set1_ps(d * scale[i * n_blocks + b]), sums[i][chain]);
        }
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
