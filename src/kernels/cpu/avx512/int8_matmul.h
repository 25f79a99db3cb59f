// Matmuls on int8 activations with AVX-512 VNNI: how rows are walked. What is done to a block: int8_dot.h.
#pragma once

#include "kernels/cpu/avx512/unpack_32.h"
#include "kernels/cpu/avx512/unpack_iq.h"
#include "kernels/cpu/avx512/unpack_k.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::avx512 {

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
    const float *scale = x.scale + first * n_blocks, *sum = x.sum + first * n_blocks;
    __m512 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm512_setzero_ps();
    const auto add_blocks = [&](const auto& weights, int i, int64_t b) {
      const int64_t at = i * n_blocks + b;
      add(weights, q8 + at * kBlockValues, scale + at, sum + at, sums[i]);
    };
    int64_t b = 0;
    for (; b + 2 <= n_blocks; b += 2) {
      const auto weights = unpack_pair<2>(blocks + b);
      for (int i = 0; i < N; ++i) add_blocks(weights, i, b);
    }
    if (b < n_blocks) {
      const auto weights = unpack_pair<1>(blocks + b);
      for (int i = 0; i < N; ++i) add_blocks(weights, i, b);
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = _mm512_reduce_add_ps(sums[i]);
  }
};

}  // namespace flashmoe::avx512
