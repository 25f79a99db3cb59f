// Matmuls on int8 activations with NEON: how rows are walked. What is done to a block: int8_dot.h. Compiled twice,
// with and without the dot product extension, in a namespace each.
//
// Instructions in the loop over one activation row, as GCC 12 compiles it: Q4_K 147 for 256 weights (183 without SDOT),
// Q8_0 31 for 64 (38).
#pragma once

#include "kernels/cpu/neon/unpack_32.h"
#include "kernels/cpu/neon/unpack_iq.h"
#include "kernels/cpu/neon/unpack_k.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vector/matmul.h"

namespace flashmoe::FLASHMOE_ISA {

inline float32x4_t fma_of(int32x4_t dots, float factor, float32x4_t sums) {
  return vfmaq_n_f32(sums, vcvtq_f32_s32(dots), factor);
}

// 256 values with a scale, and maybe a minimum, for each 32.
template <typename Block>
struct RunDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    float32x4_t sums[N][2];  // two chains hide the latency of the additions
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = vdupq_n_f32(0);
    for (int64_t b = 0; b < n_blocks; ++b) {
      const Block& block = blocks[b];
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      const Eight w_scales = scales(block);
      float both[N][8];
      for (int i = 0; i < N; ++i) store(both[i], w_scales * eight_at(x.scale + ((first + i) * n_blocks + b) * 8));
      if constexpr (requires { mins(block); }) {
        const Eight w_mins = mins(block);
        for (int i = 0; i < N; ++i) {
          const Eight x_sums = eight_at(x.sum + ((first + i) * n_blocks + b) * 8);
          sums[i][0] = vfmsq_f32(sums[i][0], w_mins.low, x_sums.low);
          sums[i][1] = vfmsq_f32(sums[i][1], w_mins.high, x_sums.high);
        }
      }
      for (int r = 0; r < 8; ++r) {
        const Run q = run_of(block, r);
        for (int i = 0; i < N; ++i) {
          sums[i][r % 2] = fma_of(dot(q, q8 + i * x.cols + 32 * r), both[i][r], sums[i][r % 2]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = vaddvq_f32(vaddq_f32(sums[i][0], sums[i][1]));
  }
};

// 256 values with a whole number of steps, and maybe minimums, for each 16. Steps are multiplied as integers:
// 128 * 16 * 128 * 127 < 2^31.
template <typename Block>
struct StepDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const auto* blocks = reinterpret_cast<const Block*>(w);
    const int64_t n_blocks = x.cols / kBlockValues;
    constexpr bool kHasMins = requires(const Block& block) { min_steps(block); };
    float32x4_t sums[N][2];  // two chains hide the latency of the additions; one of them is the minimums'
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = vdupq_n_f32(0);
    for (int64_t b = 0; b < n_blocks; ++b) {
      const Block& block = blocks[b];
      const int8_t* q8 = x.q8 + first * x.cols + b * kBlockValues;
      const float* scale = x.scale + (first * n_blocks + b) * 8;
      const float unit = step_unit(block);
      int32_t w_steps[16], w_mins[16] = {};
      store_steps(w_steps, steps(block));
      if constexpr (kHasMins) store_steps(w_mins, min_steps(block));
      for (int r = 0; r < 8; ++r) {
        const Run q = run_of(block, r);
        for (int i = 0; i < N; ++i) {
          const int8_t* values = q8 + i * x.cols + 32 * r;
          const float x_scale = scale[i * n_blocks * 8 + r];
          const auto stepped = [&](const Run& weights, const int32_t by[2]) {
            return vmlaq_n_s32(vmulq_n_s32(dot(weights.low, values), by[0]), dot(weights.high, values + 16), by[1]);
          };
          float32x4_t& sum = sums[i][kHasMins ? 0 : r % 2];
          sum = fma_of(stepped(q, w_steps + 2 * r), unit * x_scale, sum);
          if constexpr (kHasMins) {
            const Run ones = {vdupq_n_s8(1), vdupq_n_s8(1)};
            sums[i][1] = fma_of(stepped(ones, w_mins + 2 * r), -min_unit(block) * x_scale, sums[i][1]);
          }
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = vaddvq_f32(vaddq_f32(sums[i][0], sums[i][1]));
  }
};

// 32 values, maybe with a minimum `m`, which is added.
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
    float32x4_t sums[N][2];  // two chains hide the latency of the additions
    float mins[N] = {};
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = vdupq_n_f32(0);
    const auto add = [&](int64_t b, int chain) {
      const Run q = unpack(blocks[b]);
      const float d = scale_of(blocks[b]);
      for (int i = 0; i < N; ++i) {
        const int32x4_t dots = dot(q, q8 + i * x.cols + b * kBlockValues);
        sums[i][chain] = fma_of(dots, d * scale[i * n_blocks + b], sums[i][chain]);
        if constexpr (requires { blocks->m; }) mins[i] += half_at(blocks[b].m) * sum[i * n_blocks + b];
      }
    };
    int64_t b = 0;
    for (; b + 2 <= n_blocks; b += 2) {
      add(b, 0);
      add(b + 1, 1);
    }
    if (b < n_blocks) add(b, 0);
    for (int i = 0; i < N; ++i) y[i * y_stride] = vaddvq_f32(vaddq_f32(sums[i][0], sums[i][1])) + mins[i];
  }
};

inline void set_fast_matmuls(KernelTable& table) {
  const auto set = [&table](Format format, Matmul entry) { table.matmul_fast[static_cast<int>(format)] = entry; };
  set(Format::q8_0, matmul<BlockDot<BlockQ8_0>>);
  set(Format::q4_0, matmul<BlockDot<BlockQ4_0>>);
  set(Format::q4_1, matmul<BlockDot<BlockQ4_1>>);
  set(Format::q5_0, matmul<BlockDot<BlockQ5_0>>);
  set(Format::q5_1, matmul<BlockDot<BlockQ5_1>>);
  set(Format::iq4_nl, matmul<BlockDot<BlockIQ4_NL>>);
  set(Format::mxfp4, matmul<BlockDot<BlockMXFP4>>);
  set(Format::q2_k, matmul<StepDot<BlockQ2_K>>);
  set(Format::q3_k, matmul<StepDot<BlockQ3_K>>);
  set(Format::q4_k, matmul<RunDot<BlockQ4_K>>);
  set(Format::q5_k, matmul<RunDot<BlockQ5_K>>);
  set(Format::q6_k, matmul<StepDot<BlockQ6_K>>);
  set(Format::iq1_s, matmul<RunDot<BlockIQ1_S>>);
  set(Format::iq1_m, matmul<StepDot<BlockIQ1_M>>);
  set(Format::iq2_xxs, matmul<RunDot<BlockIQ2_XXS>>);
  set(Format::iq2_xs, matmul<StepDot<BlockIQ2_XS>>);
  set(Format::iq2_s, matmul<StepDot<BlockIQ2_S>>);
  set(Format::iq3_xxs, matmul<RunDot<BlockIQ3_XXS>>);
  set(Format::iq3_s, matmul<RunDot<BlockIQ3_S>>);
  set(Format::iq4_xs, matmul<RunDot<BlockIQ4_XS>>);
}

}  // namespace flashmoe::FLASHMOE_ISA
