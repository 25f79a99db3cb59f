// Norms, activations, convolution and rotary embedding on vectors. Contracts: kernels.h.
#pragma once

#include "kernels/cpu/vector/lanes.h"

namespace flashmoe::FLASHMOE_ISA {

inline float rms_scale(const float* x, int64_t d, float eps) {
  return 1.0f / __builtin_sqrtf(sum_of_squares(x, d) / static_cast<float>(d) + eps);
}

inline void rmsnorm(const float* x, const float* w, int64_t n, int64_t d, float eps, float* y) noexcept {
  for (int64_t i = 0; i < n; ++i, x += d, y += d) {
    const Vec scale = broadcast(rms_scale(x, d, eps));
    over_lanes(d, [&](int64_t j, auto lanes) { store(y + j, load(x + j, lanes) * scale * load(w + j, lanes), lanes); });
  }
}

inline void gated_rmsnorm(const float* x, const float* z, const float* w, int64_t n, int64_t d, int64_t stride,
                          float eps, float* y) noexcept {
  for (int64_t i = 0; i < n; ++i, x += stride, z += stride, y += stride) {
    const Vec scale = broadcast(rms_scale(x, d, eps));
    over_lanes(d, [&](int64_t j, auto lanes) {
      store(y + j, load(x + j, lanes) * scale * load(w + j, lanes) * silu(load(z + j, lanes)), lanes);
    });
  }
}

inline void l2norm(float* x, int64_t n, int64_t d, int64_t stride, float scale, float eps) noexcept {
  for (int64_t i = 0; i < n; ++i, x += stride) {
    const Vec factor = broadcast(scale / __builtin_sqrtf(sum_of_squares(x, d) + eps));
    over_lanes(d, [&](int64_t j, auto lanes) { store(x + j, load(x + j, lanes) * factor, lanes); });
  }
}

inline void silu_mul(const float* gate, const float* up, int64_t n, float* y) noexcept {
  over_lanes(n, [&](int64_t j, auto lanes) { store(y + j, silu(load(gate + j, lanes)) * load(up + j, lanes), lanes); });
}

inline void sigmoid_mul(const float* gate, int64_t n, float* x) noexcept {
  over_lanes(n,
             [&](int64_t j, auto lanes) { store(x + j, load(x + j, lanes) * sigmoid(load(gate + j, lanes)), lanes); });
}

inline void add_scaled(const float* x, float a, int64_t n, float* y) noexcept {
  const Vec factor = broadcast(a);
  over_lanes(n,
             [&](int64_t j, auto lanes) { store(y + j, fma(factor, load(x + j, lanes), load(y + j, lanes)), lanes); });
}

inline void convert_to_f16(const float* x, int64_t n, uint16_t* y) noexcept {
  over_lanes(n, [&](int64_t j, auto lanes) { store(y + j, load(x + j, lanes), lanes); });
}

inline void load_taps(const float* w, All, Vec taps[4]) { load_by_four(w, taps); }
inline void load_taps(const float* w, First lanes, Vec taps[4]) {
  float copy[4 * kLanes] = {};
  for (int64_t j = 0; j < 4 * lanes.n; ++j) copy[j] = w[j];
  load_by_four(copy, taps);
}

inline void conv4_silu(const float* x, const float* w, int64_t n, int64_t channels, int64_t begin, int64_t end,
                       float* history, float* y) noexcept {
  over_lanes(end - begin, [&](int64_t j, auto lanes) {
    const int64_t c = begin + j;
    Vec taps[4];
    load_taps(w + c * 4, lanes, taps);
    float* past = history + c;
    Vec oldest = load(past, lanes), older = load(past + channels, lanes), old = load(past + 2 * channels, lanes);
    for (int64_t t = 0; t < n; ++t) {
      const Vec now = load(x + t * channels + c, lanes);
      const Vec total = fma(taps[3], now, fma(taps[2], old, fma(taps[1], older, taps[0] * oldest)));
      store(y + t * (end - begin) + j, silu(total), lanes);
      oldest = older;
      older = old;
      old = now;
    }
    store(past, oldest, lanes);
    store(past + channels, older, lanes);
    store(past + 2 * channels, old, lanes);
  });
}

inline void rope(float* x, int64_t n_heads, int64_t stride, int64_t rotary_dims, const float* cos,
                 const float* sin) noexcept {
  const int64_t half = rotary_dims / 2;
  for (int64_t h = 0; h < n_heads; ++h, x += stride) {
    over_lanes(half, [&](int64_t j, auto lanes) {
      const Vec a = load(x + j, lanes), b = load(x + half + j, lanes);
      const Vec c = load(cos + j, lanes), s = load(sin + j, lanes);
      store(x + j, fnma(b, s, a * c), lanes);
      store(x + half + j, fma(a, s, b * c), lanes);
    });
  }
}

// Whole vectors below the smallest of the k are passed over; what is left meets the scalar order.
inline void route_topk(const float* logits, int64_t n, int64_t k, int32_t* experts, float* weights) noexcept {
  int64_t n_found = 0;
  over_lanes(n, [&](int64_t first, auto lanes) {
    const int64_t end = first + kLanes < n ? first + kLanes : n;
    if constexpr (sizeof(lanes) == sizeof(All)) {
      if (n_found == k && max_lane(load(logits + first)) <= weights[k - 1]) return;
    }
    for (int64_t id = first; id < end; ++id) {
      int64_t at = n_found;
      while (at > 0 && logits[id] > weights[at - 1]) --at;
      if (at == k) continue;
      if (n_found < k) ++n_found;
      for (int64_t j = n_found - 1; j > at; --j) {
        experts[j] = experts[j - 1];
        weights[j] = weights[j - 1];
      }
      experts[at] = static_cast<int32_t>(id);
      weights[at] = logits[id];
    }
  });
  const Vec largest = broadcast(weights[0]);
  over_lanes(n_found,
             [&](int64_t j, auto lanes) { store(weights + j, exp(load(weights + j, lanes) - largest), lanes); });
  float sum = 0;
  for (int64_t j = 0; j < n_found; ++j) sum += weights[j];
  for (int64_t j = 0; j < n_found; ++j) weights[j] /= sum;
}

inline void set_rows(KernelTable& table) {
  table.rmsnorm = rmsnorm;
  table.gated_rmsnorm = gated_rmsnorm;
  table.l2norm = l2norm;
  table.silu_mul = silu_mul;
  table.sigmoid_mul = sigmoid_mul;
  table.add_scaled = add_scaled;
  table.f32_to_f16 = convert_to_f16;
  table.conv4_silu = conv4_silu;
  table.rope = rope;
  table.route_topk = route_topk;
}

}  // namespace flashmoe::FLASHMOE_ISA
