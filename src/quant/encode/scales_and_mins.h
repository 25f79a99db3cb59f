// Blocks of 256 whose groups have a scale and a minimum, none negative, in units of the block's d and dmin: Q5_K, Q4_K,
// Q2_K. w = (d * scale) * q - dmin * min.
#pragma once

#include "quant/encode/affine_search.h"
#include "quant/encode/block_values.h"
#include "quant/encode/scale_search.h"
#include "quant/q2_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"

namespace flashmoe {

template <int kGroups>
struct ScalesAndMins {
  StoredHalf d = {0, 0}, dmin = {0, 0};
  float scales[kGroups] = {}, mins[kGroups] = {};  // whole numbers
};

// Sums over a block for the best d and dmin, given all codes, scales and minimums: x ~ d a - dmin b.
struct BlockSums {
  float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
};

static inline void add_group(const ValueSums& values, const AffineSums& sums, float scale, float min,
                             BlockSums& all) noexcept {
  all.aa += scale * scale * sums.qq;
  all.ab += scale * min * sums.q;
  all.bb += min * min * values.w;
  all.xa += scale * sums.xq;
  all.xb += min * values.x;
}

// False: they do not determine what is to be stored.
static inline bool best_pair(const BlockSums& s, float& d, float& dmin) noexcept {
  if (s.bb == 0 && s.aa > 0) {  // no group has a minimum
    d = s.xa / s.aa, dmin = 0;
    return d > 0;
  }
  const float determinant = s.aa * s.bb - s.ab * s.ab;
  if (!(determinant > 1e-6f * s.aa * s.bb)) return false;
  const float new_d = (s.xa * s.bb - s.xb * s.ab) / determinant, new_dmin = (s.xa * s.ab - s.xb * s.aa) / determinant;
  if (!(new_d > 0) || !(new_dmin > 0)) return false;
  d = new_d, dmin = new_dmin;
  return true;
}

// What a group would have if nothing were rounded; offset <= 0.
template <typename Codes>
static inline AffineFit search_group(Codes codes, const float* x, const float* w, int n,
                                     const EndTrials& trials) noexcept {
  AffineFit fit = search_affine(codes, x, w, n, trials);
  if (fit.offset <= 0) return fit;
  fit.scale = search_scale(codes, x, w, n, {-0.6f, 0.1f, 12, true});
  if (fit.scale < 0) fit.scale = 0;
  fit.offset = 0;
  const AffineSums sums = affine_sums(codes, x, w, n, 0, inverse_of(fit.scale));
  fit.mean_code = sums.q / value_sums(x, w, n).w;
  return fit;
}

// A group's whole scale and minimum, with the gain and the sums of its codes.
struct GroupChoice {
  float scale = 0, min = 0, gain = 0;
  AffineSums sums;
};

// The best near what the group would have if nothing were rounded.
template <int kMost, typename Codes>
static inline GroupChoice choose_scale_and_min(Codes codes, const float* x, const float* w, int n,
                                               const AffineFit& wanted, const ValueSums& values, float d,
                                               float dmin) noexcept {
  const float per_d = inverse_of(d), per_dmin = inverse_of(dmin);
  const float centre = rounded(clamped(wanted.scale * per_d, 0, kMost));
  TriedAffines tried;
  struct {
    float scale, min, step, offset;
  } candidates[6];
  for (float scale = centre - 1; scale <= centre + 1; ++scale) {
    if (scale < 0 || scale > kMost) continue;
    const float step = d * scale;
    // A wider step moves the offset down, so that the mean stays.
    const float min = ((step - wanted.scale) * wanted.mean_code - wanted.offset) * per_dmin;
    const float below = clamped(rounded(min - 0.5f), 0, kMost);
    for (float m = below; m <= below + 1 && m <= kMost; ++m) {
      candidates[tried.n] = {scale, m, step, -dmin * m};
      tried.add(-dmin * m, inverse_of(step));
    }
  }
  GroupChoice best;
  for (int first = 0; first < tried.n; first += 4) {
    const FourAffineSums four = four_affine_sums(codes, x, w, n, tried, first);
    for (int k = 0; k < 4 && first + k < tried.n; ++k) {
      const auto& candidate = candidates[first + k];
      const AffineSums sums = {four.q[k], four.qq[k], four.xq[k]};
      const float gain = gain_with(values, sums, candidate.step, candidate.offset);
      if (gain > best.gain) best = {candidate.scale, candidate.min, gain, sums};
    }
  }
  return best;
}

// Each group's scale and offset first; then d with dmin and the whole scales and minimums in turn, each given the
// other.
template <int kGroups, int kMost, typename Codes>
static inline ScalesAndMins<kGroups> search_scales_and_mins(Codes codes, const BlockValues<256>& block,
                                                            const EndTrials& trials, int rounds) noexcept {
  constexpr int kGroup = 256 / kGroups;
  AffineFit wanted[kGroups];
  ValueSums values[kGroups];
  float d = 0, dmin = 0;
  for (int g = 0; g < kGroups; ++g) {
    const float *x = block.x + g * kGroup, *w = block.w + g * kGroup;
    wanted[g] = search_group(codes, x, w, kGroup, trials);
    values[g] = value_sums(x, w, kGroup);
    d = wanted[g].scale > d ? wanted[g].scale : d;
    dmin = -wanted[g].offset > dmin ? -wanted[g].offset : dmin;
  }
  d /= kMost, dmin /= kMost;
  ScalesAndMins<kGroups> best;
  float best_total = 0;
  for (int round = 0; round < rounds; ++round) {
    ScalesAndMins<kGroups> now;
    now.d = stored_half(d, block.exponent), now.dmin = stored_half(dmin, block.exponent);
    float total = 0;
    BlockSums all;
    for (int g = 0; g < kGroups; ++g) {
      const float *x = block.x + g * kGroup, *w = block.w + g * kGroup;
      const GroupChoice chosen =
          choose_scale_and_min<kMost>(codes, x, w, kGroup, wanted[g], values[g], now.d.value, now.dmin.value);
      now.scales[g] = chosen.scale, now.mins[g] = chosen.min;
      total += chosen.gain;
      add_group(values[g], chosen.sums, now.scales[g], now.mins[g], all);
    }
    if (total > best_total) best_total = total, best = now;
    if (!best_pair(all, d, dmin)) break;
  }
  return best;
}

template <int kGroups, typename Codes>
static inline void take_block_codes(Codes codes, const BlockValues<256>& block, const ScalesAndMins<kGroups>& found,
                                    uint8_t out[256]) noexcept {
  constexpr int kGroup = 256 / kGroups;
  for (int g = 0; g < kGroups; ++g) {
    take_codes(codes, block.x + g * kGroup, kGroup, -found.dmin.value * found.mins[g],
               inverse_of(found.d.value * found.scales[g]), out + g * kGroup);
  }
}

// The other way round of unpack_scales_k.
static inline void pack_scales_k(const float scales[8], const float mins[8], uint8_t packed[12]) noexcept {
  for (int j = 0; j < 4; ++j) {
    const int scale = static_cast<int>(scales[j + 4]), min = static_cast<int>(mins[j + 4]);
    packed[j] = static_cast<uint8_t>(static_cast<int>(scales[j]) | scale >> 4 << 6);
    packed[j + 4] = static_cast<uint8_t>(static_cast<int>(mins[j]) | min >> 4 << 6);
    packed[j + 8] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockQ4_K& block) noexcept {
  using Codes = WholeCodes<0, 15>;
  const auto found = search_scales_and_mins<8, 63>(Codes(), values, {-0.4f, 0.4f, 4}, 3);
  uint8_t codes[256];
  take_block_codes<8>(Codes(), values, found, codes);
  std::memcpy(block.d, &found.d.bits, 2);
  std::memcpy(block.dmin, &found.dmin.bits, 2);
  pack_scales_k(found.scales, found.mins, block.scales);
  for (int j = 0; j < 128; ++j) {
    const uint8_t* q = codes + j / 32 * 64 + j % 32;
    block.q[j] = static_cast<uint8_t>(q[0] | q[32] << 4);
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockQ5_K& block) noexcept {
  using Codes = WholeCodes<0, 31>;
  const auto found = search_scales_and_mins<8, 63>(Codes(), values, {-0.4f, 0.4f, 4}, 3);
  uint8_t codes[256];
  take_block_codes<8>(Codes(), values, found, codes);
  std::memcpy(block.d, &found.d.bits, 2);
  std::memcpy(block.dmin, &found.dmin.bits, 2);
  pack_scales_k(found.scales, found.mins, block.scales);
  std::memset(block.high, 0, sizeof(block.high));
  for (int g = 0; g < 8; ++g) {
    for (int j = 0; j < 32; ++j) block.high[j] = static_cast<uint8_t>(block.high[j] | codes[g * 32 + j] >> 4 << g);
  }
  for (int j = 0; j < 128; ++j) {
    const uint8_t* q = codes + j / 32 * 64 + j % 32;
    block.q[j] = static_cast<uint8_t>((q[0] & 15) | (q[32] & 15) << 4);
  }
}

static inline void encode_block(const BlockValues<256>& values, BlockQ2_K& block) noexcept {
  using Codes = WholeCodes<0, 3>;
  const auto found = search_scales_and_mins<16, 15>(Codes(), values, {0, 0.15f, 5}, 4);
  uint8_t codes[256];
  take_block_codes<16>(Codes(), values, found, codes);
  std::memcpy(block.d, &found.d.bits, 2);
  std::memcpy(block.dmin, &found.dmin.bits, 2);
  for (int g = 0; g < 16; ++g) {
    block.scales[g] = static_cast<uint8_t>(static_cast<int>(found.scales[g]) | static_cast<int>(found.mins[g]) << 4);
  }
  for (int j = 0; j < 64; ++j) {
    const uint8_t* q = codes + j / 32 * 128 + j % 32;
    block.q[j] = static_cast<uint8_t>(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
  }
}

}  // namespace flashmoe
