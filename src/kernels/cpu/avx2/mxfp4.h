// MXFP4's levels and exponents, AVX2.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "quant/mxfp4.h"

namespace flashmoe::FLASHMOE_ISA {

// Levels, kMxfp4Largest too large, so that they are unsigned.
struct UnsignedLevels {
  int8_t of[16];
};
consteval UnsignedLevels unsigned_levels() {
  UnsignedLevels levels = {};
  for (int i = 0; i < 16; ++i) levels.of[i] = static_cast<int8_t>(kMxfp4Levels[i] + kMxfp4Largest);
  return levels;
}
inline constexpr UnsignedLevels kMxfp4Unsigned = unsigned_levels();

// Of the lower eight bytes, as quant/mxfp4.h has it.
inline __m256 half_e8m0(__m128i exponents) {
  const __m256i e = _mm256_cvtepu8_epi32(exponents), one = _mm256_set1_epi32(1);
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
  const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, _mm256_cmpgt_epi32(e, one)));
}

}  // namespace flashmoe::FLASHMOE_ISA
