// Loops over lanes and the functions of one variable. Included after a vec.h, which names the instruction set.
#pragma once

namespace flashmoe::FLASHMOE_ISA {

// body(i, lanes) for i = 0, kLanes, ...: All lanes while they last, then the First few. A value meets the same
// operations in either.
template <typename Body>
inline void over_lanes(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, All{});
  if (i < n) body(i, First{n - i});
}

// e^x to 1e-7 relative: 2^n * p(r), x = n ln 2 + r, with ln 2 in two parts so that r is exact. Results that would be
// subnormal are 0; beyond 88 it stays at e^88; NaN stays NaN (the order of max's and min's operands).
inline Vec exp(Vec x) {
  const Vec clamped = min(broadcast(88.0f), max(broadcast(-87.0f), x));
  const Vec n = round(clamped * broadcast(1.44269504f));
  const Vec r = fnma(n, broadcast(-2.12194440e-4f), fnma(n, broadcast(0.693359375f), clamped));
  Vec p = broadcast(1.0f / 5040);
  p = fma(p, r, broadcast(1.0f / 720));
  p = fma(p, r, broadcast(1.0f / 120));
  p = fma(p, r, broadcast(1.0f / 24));
  p = fma(p, r, broadcast(1.0f / 6));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  return zero_below(x, -87.0f, p * pow2(n));
}
inline float exp(float x) { return first(exp(broadcast(x))); }

// log(1 + e^x) to 1e-6 relative: max(x, 0) + log(1 + t) with t = e^-|x| <= 1, and log(1 + t) = 2 artanh(t / (2 + t)),
// whose series in s <= 1/3 is cut after s^13.
inline Vec softplus(Vec x) {
  const Vec t = exp(broadcast(0.0f) - abs(x));
  const Vec s = t / (broadcast(2.0f) + t), square = s * s;
  Vec p = broadcast(2.0f / 13);
  p = fma(p, square, broadcast(2.0f / 11));
  p = fma(p, square, broadcast(2.0f / 9));
  p = fma(p, square, broadcast(2.0f / 7));
  p = fma(p, square, broadcast(2.0f / 5));
  p = fma(p, square, broadcast(2.0f / 3));
  p = fma(p, square, broadcast(2.0f));
  return fma(p, s, max(broadcast(0.0f), x));
}

inline Vec sigmoid(Vec x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(broadcast(0.0f) - x)); }
inline Vec silu(Vec x) { return x * sigmoid(x); }

// Four chains hide the latency of the additions; their order depends on n alone.
inline float sum_of_squares(const float* x, int64_t n) {
  Vec sums[4] = {zero(), zero(), zero(), zero()};
  over_lanes(n, [&](int64_t i, auto lanes) {
    Vec& chain = sums[i / kLanes % 4];
    const Vec value = load(x + i, lanes);
    chain = fma(value, value, chain);
  });
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

}  // namespace flashmoe::FLASHMOE_ISA
