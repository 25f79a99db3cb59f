// MXFP4: 32 four-bit floats (E2M1) and one exponent (E8M0). w = 2^(e - 128) * level, with the levels doubled so that
// they are whole numbers. Nibbles are ordered as in Q4_0.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace flashmoe {

struct BlockMXFP4 {
  static constexpr int kValues = 32;
  uint8_t e;
  uint8_t q[16];
};
static_assert(sizeof(BlockMXFP4) == 17 && alignof(BlockMXFP4) == 1);

inline constexpr int8_t kMxfp4Largest = 12;
inline constexpr int8_t kMxfp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128); the two smallest are subnormal.
static inline float half_e8m0(uint8_t e) noexcept {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

static inline void decode_mxfp4(const std::byte* blocks, int64_t n_values, float* __restrict out) noexcept {
  const auto* block = reinterpret_cast<const BlockMXFP4*>(blocks);
  for (int64_t i = 0; i < n_values; i += BlockMXFP4::kValues, ++block) {
    const float d = half_e8m0(block->e);
    for (int j = 0; j < 16; ++j) {
      out[i + j] = d * static_cast<float>(kMxfp4Levels[block->q[j] & 15]);
      out[i + j + 16] = d * static_cast<float>(kMxfp4Levels[block->q[j] >> 4]);
    }
  }
}

}  // namespace flashmoe
