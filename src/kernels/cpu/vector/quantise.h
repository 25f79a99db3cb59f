// Activations as int8 on vectors, bit for bit what scalar computes. Contract: kernels.h.
#pragma once

#include "kernels/cpu/vector/lanes.h"
#include "kernels/kernels.h"

namespace flashmoe::FLASHMOE_ISA {

// 32 values.
struct ActivationBlock {
  static constexpr int kVecs = kActivationBlock / kLanes;
  Vec of[kVecs];

  explicit ActivationBlock(const float* x) {
    for (int j = 0; j < kVecs; ++j) of[j] = load(x + j * kLanes);
  }
  float least_scale() const {
    Vec largest = abs(of[0]), sums[kVecs];
    for (int j = 0; j < kVecs; ++j) {
      sums[j] = abs(of[j]);
      largest = max(sums[j], largest);
    }
    for (int half = kVecs / 2; half > 0; half /= 2) {
      for (int j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
    }
    const float of_largest = max_lane(largest) * (1.0f / 127);
    const float of_sum = sum_lanes(sums[0]) * (1.0f / (kMostActivationSum - 24));
    return of_largest > of_sum ? of_largest : of_sum;
  }
};

// The blocks of one group.
inline void quantise_group(const float* x, int64_t n_blocks, int8_t* q8, float* scale, float* sum) {
  float largest = 0, all = 0;
  for (int64_t b = 0; b < n_blocks; ++b) {
    scale[b] = ActivationBlock(x + b * kActivationBlock).least_scale();
    largest = scale[b] > largest ? scale[b] : largest;
    all += scale[b];
  }
  largest += 0 * all;
  const bool is_zero = largest < 1e-32f;
  const float unit = is_zero ? 0 : largest / kMostActivationScale;
  const float per_unit = is_zero ? 0 : kMostActivationScale / largest;
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float units = __builtin_ceilf(scale[b] * per_unit);
    scale[b] = unit * (units < kMostActivationScale ? units : kMostActivationScale);
    const Vec inverse = broadcast(scale[b] == 0 ? 0 : 1 / scale[b]);
    ActivationBlock block(x + b * kActivationBlock);
    for (Vec& values : block.of) values = values * inverse;
    sum[b] = scale[b] * static_cast<float>(store_bytes(q8 + b * kActivationBlock, block.of));
  }
}

inline void quantise_activations(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale,
                                 float* sum) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t left = cols; left > 0; left -= kActivationGroup) {
      const int64_t n_blocks = (left < kActivationGroup ? left : kActivationGroup) / kActivationBlock;
      quantise_group(x, n_blocks, q8, scale, sum);
      x += n_blocks * kActivationBlock;
      q8 += n_blocks * kActivationBlock;
      scale += n_blocks;
      sum += n_blocks;
    }
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
