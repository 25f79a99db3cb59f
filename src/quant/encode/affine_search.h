// A scale and an offset for n values: x ~ scale * q + offset, with q in 0 .. highest. Given the codes both follow from
// a weighted regression; searched from several ends of the range, then both in turn.
#pragma once

#include "quant/encode/codes.h"

namespace flashmoe {

struct AffineSums {
  float q = 0, qq = 0, xq = 0;  // sum of w q, of w q q, of w x q
};
struct ValueSums {
  float w = 0, x = 0;  // sum of w, of w x
};
struct AffineFit {
  float scale = 0, offset = 0;
  float mean_code = 0;
};

static inline ValueSums value_sums(const float* x, const float* w, int n) noexcept {
  Lanes all = {}, wx = {};
  for (int i = 0; i < n; i += kLanes) {
    const Lanes weight = load_lanes(w + i);
    all += weight;
    wx += weight * load_lanes(x + i);
  }
  return {sum(all), sum(wx)};
}

template <typename Codes>
static inline AffineSums affine_sums(Codes codes, const float* x, const float* w, int n, float offset,
                                     float inverse) noexcept {
  Lanes q_sum = {}, qq = {}, xq = {};
  for (int i = 0; i < n; i += kLanes) {
    const Lanes v = load_lanes(x + i), q = nearest(codes, (v - offset) * inverse), wq = load_lanes(w + i) * q;
    q_sum += wq;
    qq += wq * q;
    xq += wq * v;
  }
  return {sum(q_sum), sum(qq), sum(xq)};
}

// How much less the squared error is than with scale and offset 0.
static inline float gain_with(const ValueSums& values, const AffineSums& sums, float scale, float offset) noexcept {
  return 2 * (scale * sums.xq + offset * values.x) -
         (scale * (scale * sums.qq + 2 * offset * sums.q) + offset * offset * values.w);
}

// Ends of the range that are tried: first, first + step, ... in units of one code, inwards from the lowest and from the
// highest value, each with each.
struct EndTrials {
  float first, step;
  int count;
};

template <typename Codes>
static inline AffineFit search_affine(Codes codes, const float* x, const float* w, int n,
                                      const EndTrials& trials) noexcept {
  const ValueSums values = value_sums(x, w, n);
  const Range range = range_of(x, n);
  const float mean = values.x / values.w, width = range.high - range.low;
  AffineFit best = {0, mean, 0};
  if (!(width > 0x1p-60f)) return best;
  float gain = 0;
  const auto try_ends = [&](float low, float inverse) noexcept __attribute__((always_inline)) {
    const AffineSums sums = affine_sums(codes, x, w, n, low, inverse);
    const float mean_code = sums.q / values.w;
    const float together = sums.xq - mean * sums.q, spread = sums.qq - mean_code * sums.q;
    const float this_gain = spread > 0 ? together * together / spread : 0;
    if (this_gain <= gain) return false;
    gain = this_gain;
    best.scale = together / spread;
    best.offset = mean - best.scale * mean_code;
    best.mean_code = mean_code;
    return true;
  };
  const float code = width / Codes::kHighest;
  for (int i = 0; i < trials.count; ++i) {
    const float low = range.low + (trials.first + trials.step * static_cast<float>(i)) * code;
    for (int j = 0; j < trials.count; ++j) {
      const float high = range.high - (trials.first + trials.step * static_cast<float>(j)) * code;
      try_ends(low, Codes::kHighest / (high - low));
    }
  }
  for (int i = 0; i < 3 && best.scale > 0 && try_ends(best.offset, 1 / best.scale); ++i) {
  }
  return best;
}

}  // namespace flashmoe
