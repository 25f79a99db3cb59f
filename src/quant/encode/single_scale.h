// Blocks of 32 with one scale: Q8_0, Q4_0, IQ4_NL, MXFP4.
#pragma once

#include "quant/encode/block_values.h"
#include "quant/encode/scale_search.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

namespace flashmoe {

// The scale to store: of the searched one, the one its rounding gave, and that one's own best, whichever errs least.
template <typename Codes>
static inline StoredHalf search_half(Codes codes, const BlockValues<32>& block, const ScaleTrials& trials) noexcept {
  StoredHalf best = stored_half(search_scale(codes, block.x, block.w, 32, trials), block.exponent);
  const ScaleSums sums = scale_sums(codes, block.x, block.w, 32, inverse_of(best.value));
  const StoredHalf next = stored_half(best_scale(sums), block.exponent);
  if (next.bits == best.bits) return best;
  const ScaleSums next_sums = scale_sums(codes, block.x, block.w, 32, inverse_of(next.value));
  return gain_with(next_sums, next.value) > gain_with(sums, best.value) ? next : best;
}

static inline void pack_nibbles(const uint8_t codes[32], uint8_t q[16]) noexcept {
  for (int j = 0; j < 16; ++j) q[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
}

static inline void encode_block(const BlockValues<32>& values, BlockQ8_0& block) noexcept {
  using Codes = WholeCodes<-127, 127>;
  const StoredHalf d = search_half(Codes(), values, {-1.5f, 0.25f, 9, false});
  uint8_t codes[32];
  take_codes(Codes(), values.x, 32, 0, inverse_of(d.value), codes);
  std::memcpy(block.d, &d.bits, 2);
  for (int j = 0; j < 32; ++j) block.q[j] = static_cast<int8_t>(codes[j] - 127);
}

static inline void encode_block(const BlockValues<32>& values, BlockQ4_0& block) noexcept {
  using Codes = WholeCodes<-8, 7>;
  const StoredHalf d = search_half(Codes(), values, {-1.75f, 0.25f, 11, true});
  uint8_t codes[32];
  take_codes(Codes(), values.x, 32, 0, inverse_of(d.value), codes);
  std::memcpy(block.d, &d.bits, 2);
  pack_nibbles(codes, block.q);
}

static inline void encode_block(const BlockValues<32>& values, BlockIQ4_NL& block) noexcept {
  using Codes = LevelCodes<kIq4Levels, 16>;
  const StoredHalf d = search_half(Codes(), values, {-14, 3.5f, 9, true});
  uint8_t codes[32];
  take_codes(Codes(), values.x, 32, 0, inverse_of(d.value), codes);
  std::memcpy(block.d, &d.bits, 2);
  pack_nibbles(codes, block.q);
}

inline constexpr int8_t kMxfp4Rising[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

static inline void encode_block(const BlockValues<32>& values, BlockMXFP4& block) noexcept {
  using Codes = LevelCodes<kMxfp4Rising, 15>;
  // The largest value is in [1, 2): with a scale of 1/8 it is 8 to 16 of at most 12, with 1/4 it is 4 to 8.
  int shift = 0;
  float gain = -1;
  for (int i = 1; i <= 4; ++i) {
    const int e = values.exponent - i + 128;
    if (e < 0 || e > 254) continue;
    const float scale = power_of_two(-i);
    const float this_gain = gain_with(scale_sums(Codes(), values.x, values.w, 32, 1 / scale), scale);
    if (this_gain > gain) gain = this_gain, shift = i;
  }
  if (shift == 0) {  // nothing but values below all scales
    block = {};
    return;
  }
  uint8_t codes[32];
  take_codes(Codes(), values.x, 32, 0, power_of_two(shift), codes);
  for (int j = 0; j < 32; ++j) {  // 0 .. 6 are the negative ones, from the largest on; 7 is zero
    codes[j] = static_cast<uint8_t>(codes[j] < 7 ? 15 - codes[j] : codes[j] - 7);
  }
  block.e = static_cast<uint8_t>(values.exponent - shift + 128);
  pack_nibbles(codes, block.q);
}

}  // namespace flashmoe
