// Matmuls on int8 activations with AVX2, as instructions of the including source have them: formats of 32 values row by
// row, codebooks 8 rows at once (stored_rows.h), the others with rows in the lanes (interleaved_matmul.h).
#pragma once

#include "kernels/cpu/avx2/interleaved_matmul.h"
#include "kernels/cpu/avx2/scaled_dot.h"
#include "kernels/cpu/avx2/stored_matmul.h"
#include "kernels/cpu/avx2/unpack_32.h"
#include "kernels/cpu/vector/matmul.h"

namespace flashmoe::FLASHMOE_ISA {

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

template <typename Block>
inline void set_interleaved(Format format, KernelTable& table) {
  table.matmul_fast[static_cast<int>(format)] = int8_matmul<Block>;
  table.matmul_interleaved[static_cast<int>(format)] = interleaved_matmul<Block>;
  table.interleave[static_cast<int>(format)] = interleave<RowsOfBlocks<Block>>;
}

inline void set_fast_matmuls(KernelTable& table) {
  const auto set = [&table](Format format, Matmul entry) { table.matmul_fast[static_cast<int>(format)] = entry; };
  set(Format::q4_0, matmul<BlockDot<BlockQ4_0>>);
  set(Format::q4_1, matmul<BlockDot<BlockQ4_1>>);
  set(Format::q5_0, matmul<BlockDot<BlockQ5_0>>);
  set(Format::q5_1, matmul<BlockDot<BlockQ5_1>>);
  set(Format::iq4_nl, matmul<BlockDot<BlockIQ4_NL>>);
  set(Format::mxfp4, matmul<BlockDot<BlockMXFP4>>);
  set(Format::iq1_s, stored_matmul<BlockIQ1_S>);
  set(Format::iq1_m, stored_matmul<BlockIQ1_M>);
  set(Format::iq2_xxs, stored_matmul<BlockIQ2_XXS>);
  set(Format::iq2_xs, stored_matmul<BlockIQ2_XS>);
  set(Format::iq2_s, stored_matmul<BlockIQ2_S>);
  set(Format::iq3_xxs, stored_matmul<BlockIQ3_XXS>);
  set(Format::iq3_s, stored_matmul<BlockIQ3_S>);
  set(Format::affine2, matmul<AffineDot<2>>);
  set(Format::affine3, matmul<AffineDot<3>>);
  set(Format::affine4, matmul<AffineDot<4>>);
  set(Format::affine5, matmul<AffineDot<5>>);
  set(Format::affine6, matmul<AffineDot<6>>);
  set(Format::affine8, matmul<AffineDot<8>>);
  set(Format::mxfp4_split, matmul<Mxfp4SplitDot>);
  set_interleaved<BlockQ8_0>(Format::q8_0, table);
  set_interleaved<BlockQ2_K>(Format::q2_k, table);
  set_interleaved<BlockQ3_K>(Format::q3_k, table);
  set_interleaved<BlockQ4_K>(Format::q4_k, table);
  set_interleaved<BlockQ5_K>(Format::q5_k, table);
  set_interleaved<BlockQ6_K>(Format::q6_k, table);
  set_interleaved<BlockIQ4_XS>(Format::iq4_xs, table);
}

}  // namespace flashmoe::FLASHMOE_ISA
