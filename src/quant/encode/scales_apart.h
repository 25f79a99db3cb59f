// Affine groups of 32, 64 or 128 values with a scale and a bias kept apart: affine8, affine4, affine3, affine2.
#pragma once

#include "quant/affine.h"
#include "quant/encode/affine_search.h"
#include "quant/encode/block_values.h"

namespace flashmoe {

// To nearest, ties to even, never infinite: a value in a block's units as the file holds it.
struct StoredScale {
  std::byte bytes[4];
  float value;
};
static inline StoredScale stored_scale(ScaleType type, float value, int exponent) noexcept {
  StoredScale stored = {};
  const float actual = scaled(value, exponent);
  if (type == ScaleType::f16) {
    const uint16_t half = f32_to_f16(clamped(actual, -65504.0f, 65504.0f));
    std::memcpy(stored.bytes, &half, sizeof(half));
  } else if (type == ScaleType::bf16) {
    const uint16_t upper = f32_to_bf16(clamped(actual, -0x1.fep127f, 0x1.fep127f));
    std::memcpy(stored.bytes, &upper, sizeof(upper));
  } else {
    const float finite = clamped(actual, -0x1.fffffep127f, 0x1.fffffep127f);
    std::memcpy(stored.bytes, &finite, sizeof(finite));
  }
  stored.value = scaled(load_scale(type, stored.bytes, 0), -exponent);
  return stored;
}

// The group's scale and bias, both as rounded; the bias is fitted to the rounded scale.
struct StoredAffine {
  StoredScale scale, bias;
};
template <typename Codes>
static inline StoredAffine search_stored(Codes codes, const BlockValues<128>& group, int n, ScaleType type,
                                         const EndTrials& trials) noexcept {
  const AffineFit fit = search_affine(codes, group.x, group.w, n, trials);
  const ValueSums values = value_sums(group.x, group.w, n);
  StoredAffine best = {stored_scale(type, fit.scale, group.exponent), stored_scale(type, fit.offset, group.exponent)};
  float gain = -1;
  const float unit = type == ScaleType::bf16 ? 0x1p-8f : 0x1p-11f;  // half a step of the stored number's mantissa
  for (int i = -1; i <= 1; ++i) {
    StoredAffine now;
    now.scale = stored_scale(type, fit.scale * (1 + static_cast<float>(i) * unit), group.exponent);
    const float bias = fit.offset + (fit.scale - now.scale.value) * fit.mean_code;
    TriedAffines tried;
    StoredScale biases[3];
    for (int j = -1; j <= 1; ++j) {
      biases[tried.n] = stored_scale(type, bias * (1 + static_cast<float>(j) * unit), group.exponent);
      tried.add(biases[tried.n].value, inverse_of(now.scale.value));
    }
    const FourAffineSums four = four_affine_sums(codes, group.x, group.w, n, tried, 0);
    for (int k = 0; k < tried.n; ++k) {
      now.bias = biases[k];
      const float this_gain = gain_with(values, {four.q[k], four.qq[k], four.xq[k]}, now.scale.value, now.bias.value);
      if (this_gain > gain) gain = this_gain, best = now;
    }
  }
  return best;
}

template <int kBits>
static inline void encode_affine(const ScaleGrid& grid, const float* x, int64_t cols, const float* importance,
                                 std::byte* weights, std::byte* scales, std::byte* biases) noexcept {
  using Codes = WholeCodes<0, (1 << kBits) - 1>;
  constexpr EndTrials kTrials = kBits == 2   ? EndTrials{0, 0.15f, 5}
                                : kBits == 3 ? EndTrials{0, 0.25f, 5}
                                : kBits == 4 ? EndTrials{-0.4f, 0.4f, 5}
                                             : EndTrials{-0.4f, 0.4f, 2};
  const auto bytes = static_cast<size_t>(scale_bytes(grid.type));
  BlockValues<128> group;
  for (int64_t i = 0; i < cols; i += grid.group_cols, scales += bytes, biases += bytes) {
    take_values(x + i, importance == nullptr ? nullptr : importance + i, grid.group_cols, group);
    const StoredAffine found = search_stored(Codes(), group, grid.group_cols, grid.type, kTrials);
    uint8_t q[128];
    take_codes(Codes(), group.x, grid.group_cols, found.bias.value, inverse_of(found.scale.value), q);
    for (int j = 0; j < grid.group_cols; j += 8, weights += kBits) {
      uint64_t bits = 0;
      for (int k = 0; k < 8; ++k) bits |= static_cast<uint64_t>(q[j + k]) << k * kBits;
      std::memcpy(weights, &bits, kBits);
    }
    std::memcpy(scales, found.scale.bytes, bytes);
    std::memcpy(biases, found.bias.bytes, bytes);
  }
}

}  // namespace flashmoe
