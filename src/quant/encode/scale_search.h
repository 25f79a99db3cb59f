// One scale for n values: x ~ scale * q. Given the codes, the best scale is xq / qq and takes xq^2 / qq off the error;
// given the scale, the best codes are the nearest ones. Searched from several sizes of the largest value, then both in
// turn.
#pragma once

#include "quant/encode/codes.h"

namespace flashmoe {

struct ScaleSums {
  float xq = 0, qq = 0;  // sum of w x q, of w q q
};

static inline float best_scale(const ScaleSums& sums) noexcept { return sums.qq > 0 ? sums.xq / sums.qq : 0; }
// How much less the squared error is than with a scale of 0.
static inline float best_gain(const ScaleSums& sums) noexcept { return sums.qq > 0 ? sums.xq * sums.xq / sums.qq : 0; }
static inline float gain_with(const ScaleSums& sums, float scale) noexcept {
  return scale * (2 * sums.xq - scale * sums.qq);
}

template <typename Codes>
static inline ScaleSums scale_sums(Codes codes, const float* x, const float* w, int n, float inverse) noexcept {
  Lanes xq = {}, qq = {};
  for (int i = 0; i < n; i += kLanes) {
    const Lanes v = load_lanes(x + i), q = nearest(codes, v * inverse), wq = load_lanes(w + i) * q;
    xq += wq * v;
    qq += wq * q;
  }
  return {sum(xq), sum(qq)};
}

// Scales to try, as what values are multiplied by; four are summed up at once, which also shares their divisions.
struct TriedScales {
  static constexpr int kMost = 28;
  float inverse[kMost] = {};
  int n = 0;
  void add(float value) noexcept { inverse[n++] = value; }
};

struct FourScaleSums {
  Quad xq, qq;
};

// Of trials first .. first + 3; those past the last repeat it.
template <typename Codes>
static inline FourScaleSums four_scale_sums(Codes codes, const float* x, const float* w, int n,
                                            const TriedScales& tried, int first) noexcept {
  Lanes xq[4], qq[4];
  const auto sum_two = [&](int at) noexcept __attribute__((always_inline)) {
    const float inverse = tried.inverse[first + at];
    const float other = first + at + 1 < tried.n ? tried.inverse[first + at + 1] : inverse;
    Lanes xq0 = {}, qq0 = {}, xq1 = {}, qq1 = {};
    for (int i = 0; i < n; i += kLanes) {
      const Lanes v = load_lanes(x + i), weight = load_lanes(w + i);
      const Lanes q0 = nearest(codes, v * inverse), wq0 = weight * q0;
      const Lanes q1 = nearest(codes, v * other), wq1 = weight * q1;
      xq0 += wq0 * v;
      qq0 += wq0 * q0;
      xq1 += wq1 * v;
      qq1 += wq1 * q1;
    }
    xq[at] = xq0, qq[at] = qq0, xq[at + 1] = xq1, qq[at + 1] = qq1;
  };
  sum_two(0);
  if (first + 2 < tried.n) {
    sum_two(2);
  } else {
    xq[2] = xq[3] = xq[1];
    qq[2] = qq[3] = qq[1];
  }
  return {sums(xq[0], xq[1], xq[2], xq[3]), sums(qq[0], qq[1], qq[2], qq[3])};
}

// Which sizes of the largest value are tried: edge + first, edge + first + step, ... in units of the scale, where edge
// is the lowest code for one sign of the scale and the highest for the other.
struct ScaleTrials {
  float first, step;
  int count;
  bool both_signs;
  int anchored = 0;  // so many codes from the ends on are tried for the value that weighs most
};

template <typename Codes>
static inline float search_scale(Codes codes, const float* x, const float* w, int n,
                                 const ScaleTrials& trials) noexcept {
  const Range range = range_of(x, n);
  const float largest = -range.low > range.high ? range.low : range.high;
  if (magnitude(largest) < 0x1p-60f) return 0;  // nothing beside the block's largest
  float gain = 0, scale = 0;
  const auto try_inverse = [&](float inverse) noexcept __attribute__((always_inline)) {
    const ScaleSums sums = scale_sums(codes, x, w, n, inverse);
    const float this_gain = best_gain(sums);
    if (this_gain <= gain) return false;
    gain = this_gain;
    scale = best_scale(sums);
    return true;
  };
  TriedScales all;
  for (int i = 0; i < trials.count; ++i) {
    const float beyond = trials.first + trials.step * static_cast<float>(i);
    all.add((Codes::kLowest - beyond) / largest);
    if (trials.both_signs) all.add((Codes::kHighest + beyond) / largest);
  }
  // What matters most may be another than the largest.
  float anchor = 0, most = 0;
  for (int i = 0; trials.anchored > 0 && i < n; ++i) {
    const float matter = w[i] * x[i] * x[i];
    if (matter > most) most = matter, anchor = x[i];
  }
  for (int i = 0; i < trials.anchored; ++i) {
    all.add((Codes::kLowest + static_cast<float>(i)) / anchor);
    if (trials.both_signs) all.add((Codes::kHighest - static_cast<float>(i)) / anchor);
  }
  for (int first = 0; first < all.n; first += 4) {
    const FourScaleSums four = four_scale_sums(codes, x, w, n, all, first);
    const Quad gains = four.qq > 0.0f ? four.xq * four.xq / four.qq : Quad{};
    for (int k = 0; k < 4; ++k) {
      if (gains[k] <= gain) continue;
      gain = gains[k];
      scale = best_scale({four.xq[k], four.qq[k]});
    }
  }
  for (int i = 0; i < 3 && scale != 0 && try_inverse(1 / scale); ++i) {
  }
  return scale;
}

}  // namespace flashmoe
