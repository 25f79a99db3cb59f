// Blocks of 256 whose groups have signed scales of a few bits, in units of the block's d: Q6_K, Q3_K, IQ4_XS.
// w = (d * scale) * q.
#pragma once

#include "quant/encode/block_values.h"
#include "quant/encode/scale_search.h"
#include "quant/iq4_xs.h"
#include "quant/q3_k.h"
#include "quant/q6_k.h"

namespace flashmoe {

template <int kGroups>
struct SignedScales {
  StoredHalf d = {0, 0};
  float scales[kGroups] = {};  // whole numbers
};

// Each group's best scale first; then d and the whole scales in turn, each given the other.
template <int kGroups, int kScaleLow, typename Codes>
static inline SignedScales<kGroups> search_signed_scales(Codes codes, const BlockValues<256>& block,
                                                         const ScaleTrials& trials, int rounds) noexcept {
  constexpr int kGroup = 256 / kGroups;
  float wanted[kGroups], most = 0;
  for (int g = 0; g < kGroups; ++g) {
    wanted[g] = search_scale(codes, block.x + g * kGroup, block.w + g * kGroup, kGroup, trials);
    if (magnitude(wanted[g]) > magnitude(most)) most = wanted[g];
  }
  SignedScales<kGroups> best;
  float best_total = 0, d = most / static_cast<float>(kScaleLow);
  for (int round = 0; round < rounds; ++round) {
    SignedScales<kGroups> now;
    now.d = stored_half(d, block.exponent);
    const float per_d = inverse_of(now.d.value);
    float total = 0;
    ScaleSums all;
    for (int g = 0; g < kGroups; ++g) {
      const float centre = rounded(clamped(wanted[g] * per_d, kScaleLow, -kScaleLow - 1));
      float gain = 0;
      ScaleSums chosen;
      TriedScales tried;
      float candidates[4] = {};
      for (float scale = centre - 1; scale <= centre + 1; ++scale) {
        if (scale < kScaleLow || scale > -kScaleLow - 1 || scale == 0) continue;
        candidates[tried.n] = scale;
        tried.add(inverse_of(now.d.value * scale));
      }
      const FourScaleSums four = four_scale_sums(codes, block.x + g * kGroup, block.w + g * kGroup, kGroup, tried, 0);
      for (int k = 0; k < tried.n; ++k) {
        const ScaleSums sums = {four.xq[k], four.qq[k]};
        const float this_gain = gain_with(sums, now.d.value * candidates[k]);
        if (this_gain > gain) gain = this_gain, now.scales[g] = candidates[k], chosen = sums;
      }
      total += gain;
      all.xq += now.scales[g] * chosen.xq;
      all.qq += now.scales[g] * now.scales[g] * chosen.qq;
    }
    if (total > best_total) best_total = total, best = now;
    const float next = best_scale(all);
    if (next == 0 || next == d) break;
    d = next;
  }
  return best;
}

template <int kGroups, typename Codes>
static inline void take_block_codes(Codes codes, const BlockValues<256>& block, const SignedScales<kGroups>& found,
                                    uint8_t out[256]) noexcept {
  constexpr int kGroup = 256 / kGroups;
  for (int g = 0; g < kGroups; ++g) {
    const float inverse = inverse_of(found.d.value * found.scales[g]);
    take_codes(codes, block.x + g * kGroup, kGroup, 0, inverse, out + g * kGroup);
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockQ6_K& block) noexcept {
  using Codes = WholeCodes<-32, 31>;
  const auto found = search_signed_scales<16, -128>(Codes(), values, {-0.75f, 0.25f, 8, false}, 3);
  uint8_t codes[256];
  take_block_codes<16>(Codes(), values, found, codes);
  std::memcpy(block.d, &found.d.bits, 2);
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(found.scales[g]);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* q = codes + half * 128;
    for (int j = 0; j < 64; ++j) {
      block.low[half * 64 + j] = static_cast<uint8_t>((q[j] & 15) | (q[j + 64] & 15) << 4);
    }
    for (int j = 0; j < 32; ++j) {
      block.high[half * 32 + j] =
          static_cast<uint8_t>(q[j] >> 4 | q[j + 32] >> 4 << 2 | q[j + 64] >> 4 << 4 | q[j + 96] >> 4 << 6);
    }
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockQ3_K& block) noexcept {
  using Codes = WholeCodes<-4, 3>;
  const auto found = search_signed_scales<16, -32>(Codes(), values, {-1.2f, 0.2f, 10, true, 2}, 4);
  uint8_t codes[256];
  take_block_codes<16>(Codes(), values, found, codes);
  block = {};
  std::memcpy(block.d, &found.d.bits, 2);
  for (int g = 0; g < 16; ++g) {
    const int scale = static_cast<int>(found.scales[g]) + 32;
    block.scales[g % 8] = static_cast<uint8_t>(block.scales[g % 8] | (scale & 15) << g / 8 * 4);
    block.scales[8 + g % 4] = static_cast<uint8_t>(block.scales[8 + g % 4] | (scale >> 4) << g / 4 * 2);
  }
  for (int run = 0; run < 8; ++run) {
    for (int j = 0; j < 32; ++j) {
      const int q = codes[run * 32 + j];
      uint8_t& low = block.q[run / 4 * 32 + j];
      low = static_cast<uint8_t>(low | (q & 3) << run % 4 * 2);
      block.high[j] = static_cast<uint8_t>(block.high[j] | (q >> 2) << run);
    }
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockIQ4_XS& block) noexcept {
  using Codes = LevelCodes<kIq4Levels, 16>;
  const auto found = search_signed_scales<8, -32>(Codes(), values, {-14, 3.5f, 9, true}, 3);
  uint8_t codes[256];
  take_block_codes<8>(Codes(), values, found, codes);
  block = {};
  std::memcpy(block.d, &found.d.bits, 2);
  for (int g = 0; g < 8; ++g) {
    const int scale = static_cast<int>(found.scales[g]) + 32;
    block.scales_low[g / 2] = static_cast<uint8_t>(block.scales_low[g / 2] | (scale & 15) << g % 2 * 4);
    block.scales_high[g / 4] = static_cast<uint8_t>(block.scales_high[g / 4] | (scale >> 4) << g % 4 * 2);
    for (int j = 0; j < 16; ++j) {
      block.q[g * 16 + j] = static_cast<uint8_t>(codes[g * 32 + j] | codes[g * 32 + j + 16] << 4);
    }
  }
}

}  // namespace flashmoe
