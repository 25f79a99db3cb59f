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

// Offsets and scales to try, scales as what values are multiplied by; four are summed up at once, which also shares
// their divisions.
struct TriedAffines {
  static constexpr int kMost = 28;
  float offset[kMost], inverse[kMost];
  int n = 0;
  void add(float its_offset, float its_inverse) noexcept {
    offset[n] = its_offset;
    inverse[n++] = its_inverse;
  }
};

struct FourAffineSums {
  Quad q, qq, xq;
};

// Of trials first .. first + 3; those past the last repeat it.
template <typename Codes>
static inline FourAffineSums four_affine_sums(Codes codes, const float* x, const float* w, int n,
                                              const TriedAffines& tried, int first) noexcept {
  Lanes q[4], qq[4], xq[4];
  const auto sum_two = [&](int at) noexcept __attribute__((always_inline)) {
    const int a = first + at, b = a + 1 < tried.n ? a + 1 : a;
    Lanes q_a = {}, qq_a = {}, xq_a = {}, q_b = {}, qq_b = {}, xq_b = {};
    for (int i = 0; i < n; i += kLanes) {
      const Lanes v = load_lanes(x + i), weight = load_lanes(w + i);
      const Lanes code_a = nearest(codes, (v - tried.offset[a]) * tried.inverse[a]), wq_a = weight * code_a;
      const Lanes code_b = nearest(codes, (v - tried.offset[b]) * tried.inverse[b]), wq_b = weight * code_b;
      q_a += wq_a;
      qq_a += wq_a * code_a;
      xq_a += wq_a * v;
      q_b += wq_b;
      qq_b += wq_b * code_b;
      xq_b += wq_b * v;
    }
    q[at] = q_a, qq[at] = qq_a, xq[at] = xq_a;
    q[at + 1] = q_b, qq[at + 1] = qq_b, xq[at + 1] = xq_b;
  };
  sum_two(0);
  if (first + 2 < tried.n) {
    sum_two(2);
  } else {
    q[2] = q[3] = q[1];
    qq[2] = qq[3] = qq[1];
    xq[2] = xq[3] = xq[1];
  }
  return {sums(q[0], q[1], q[2], q[3]), sums(qq[0], qq[1], qq[2], qq[3]), sums(xq[0], xq[1], xq[2], xq[3])};
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
  TriedAffines all;
  for (int i = 0; i < trials.count; ++i) {
    const float low = range.low + (trials.first + trials.step * static_cast<float>(i)) * code;
    for (int j = 0; j < trials.count; ++j) {
      const float high = range.high - (trials.first + trials.step * static_cast<float>(j)) * code;
      all.add(low, Codes::kHighest / (high - low));
    }
  }
  for (int first = 0; first < all.n; first += 4) {
    const FourAffineSums four = four_affine_sums(codes, x, w, n, all, first);
    const Quad mean_codes = four.q / values.w;
    const Quad together = four.xq - mean * four.q, spread = four.qq - mean_codes * four.q;
    const Quad gains = spread > 0.0f ? together * together / spread : Quad{};
    for (int k = 0; k < 4; ++k) {
      if (gains[k] <= gain) continue;
      gain = gains[k];
      best.scale = together[k] / spread[k];
      best.offset = mean - best.scale * mean_codes[k];
      best.mean_code = mean_codes[k];
    }
  }
  for (int i = 0; i < 3 && best.scale > 0 && try_ends(best.offset, 1 / best.scale); ++i) {
  }
  return best;
}

}  // namespace flashmoe
