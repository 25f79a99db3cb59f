// Affine quantisation as MLX stores it: unsigned quants of 2 to 8 bits, one after the other from the lowest bit of the
// first byte on, with a scale and a bias for each group of 32, 64 or 128 values kept apart. w = scale * q + bias.
#pragma once

#include "quant/scales.h"

namespace flashmoe {

template <int kBits>
struct BlockAffine {
  static constexpr int kValues = 32;
  uint8_t q[kValues * kBits / 8];
};

// The 32 quants of one block.
template <int kBits>
static inline void unpack_affine(const std::byte* block, uint8_t* __restrict q) noexcept {
  for (int i = 0; i < 32; i += 8, block += kBits) {  // 8 quants fill kBits bytes
    uint64_t bits = 0;
    std::memcpy(&bits, block, kBits);
    for (int j = 0; j < 8; ++j) q[i + j] = static_cast<uint8_t>(bits >> (j * kBits) & ((1u << kBits) - 1));
  }
}

// Values [first, first + n) of a row; both multiples of 32.
template <int kBits>
static inline void decode_affine(const PackedRow& row, int64_t first, int64_t n, float* __restrict out) noexcept {
  for (int64_t i = 0; i < n; i += 32) {
    const int64_t group = (first + i) / row.group_cols;
    const float scale = load_scale(row.type, row.scales, group), bias = load_scale(row.type, row.biases, group);
    uint8_t q[32];
    unpack_affine<kBits>(row.data + (first + i) / 8 * kBits, q);
    for (int j = 0; j < 32; ++j) out[i + j] = scale * static_cast<float>(q[j]) + bias;
  }
}

}  // namespace flashmoe
