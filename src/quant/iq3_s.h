// IQ3_S: 256 values in 8 groups of 32, each with a 4-bit scale. Each 4 values have a codebook entry of nine bits, the
// upper one of a group's entry k at bit k of its byte of `high`; each 8 values a byte of sign bits.
// w = d * (2 scale + 1) * (+-entry).
#pragma once

#include "quant/codebook.h"
#include "quant/f16.h"

namespace flashmoe {

struct BlockIQ3_S {
  static constexpr int kValues = 256;
  uint8_t d[2];  // f16
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];  // of two groups, the first in the low nibble
};
static_assert(sizeof(BlockIQ3_S) == 110 && alignof(BlockIQ3_S) == 1);

static inline void decode_iq3_s(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockIQ3_S*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockIQ3_S::kValues, ++block) {
    const float d = load_f16(block->d);
    for (int group = 0; group < 8; ++group) {
      const int step = block->scales[group / 2] >> group % 2 * 4 & 15;
      const float scale = d * static_cast<float>(2 * step + 1);
      for (int k = 0; k < 8; ++k) {
        const int entry = block->q[group * 8 + k] | (block->high[group] >> k & 1) << 8;
        const uint32_t signs = block->signs[group * 4 + k / 2];
        decode_entry(kIq3SGrid.entries[entry], signs >> k % 2 * 4, scale, out + i + group * 32 + k * 4);
      }
    }
  }
}

}  // namespace flashmoe
