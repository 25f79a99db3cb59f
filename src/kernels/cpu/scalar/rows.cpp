// Norms, activations, convolution, rotary embedding, routing: everything that works on rows of f32.
#include <cmath>

#include "kernels/cpu/tables.h"
#include "quant/f16.h"

namespace flashmoe::scalar {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }

double sum_of_squares(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += double{x[j]} * x[j];
  return sum;
}

void rmsnorm(const float* x, const float* w, int64_t n, int64_t d, float eps, float* y) noexcept {
  for (int64_t i = 0; i < n; ++i, x += d, y += d) {
    const double scale = 1 / std::sqrt(sum_of_squares(x, d) / static_cast<double>(d) + eps);
    for (int64_t j = 0; j < d; ++j) y[j] = static_cast<float>(x[j] * scale * w[j]);
  }
}

void silu_mul(const float* gate, const float* up, int64_t n, float* y) noexcept {
  for (int64_t j = 0; j < n; ++j) y[j] = static_cast<float>(silu(gate[j]) * up[j]);
}

void sigmoid_mul(const float* gate, int64_t n, float* x) noexcept {
  for (int64_t j = 0; j < n; ++j) x[j] = static_cast<float>(x[j] * sigmoid(gate[j]));
}

void add_scaled(const float* x, float a, int64_t n, float* y) noexcept {
  for (int64_t j = 0; j < n; ++j) y[j] = static_cast<float>(y[j] + double{a} * x[j]);
}

void conv4_silu(const float* x, const float* w, int64_t n, int64_t channels, int64_t begin, int64_t end, float* history,
                float* y) noexcept {
  for (int64_t c = begin; c < end; ++c) {
    float oldest = history[c], older = history[channels + c], old = history[2 * channels + c];
    for (int64_t t = 0; t < n; ++t) {
      const float now = x[t * channels + c];
      const float* tap = w + c * 4;
      const double sum = double{tap[0]} * oldest + double{tap[1]} * older + double{tap[2]} * old + double{tap[3]} * now;
      y[t * (end - begin) + c - begin] = static_cast<float>(silu(sum));
      oldest = older;
      older = old;
      old = now;
    }
    history[c] = oldest;
    history[channels + c] = older;
    history[2 * channels + c] = old;
  }
}

void l2norm(float* x, int64_t n, int64_t d, int64_t stride, float scale, float eps) noexcept {
  for (int64_t i = 0; i < n; ++i, x += stride) {
    const double factor = scale / std::sqrt(sum_of_squares(x, d) + eps);
    for (int64_t j = 0; j < d; ++j) x[j] = static_cast<float>(x[j] * factor);
  }
}

void gated_rmsnorm(const float* x, const float* z, const float* w, int64_t n, int64_t d, int64_t stride, float eps,
                   float* y) noexcept {
  for (int64_t i = 0; i < n; ++i, x += stride, z += stride, y += stride) {
    const double scale = 1 / std::sqrt(sum_of_squares(x, d) / static_cast<double>(d) + eps);
    for (int64_t j = 0; j < d; ++j) y[j] = static_cast<float>(x[j] * scale * w[j] * silu(z[j]));
  }
}

void rope(float* x, int64_t n_heads, int64_t stride, int64_t rotary_dims, const float* cos, const float* sin) noexcept {
  const int64_t half = rotary_dims / 2;
  for (int64_t h = 0; h < n_heads; ++h, x += stride) {
    for (int64_t j = 0; j < half; ++j) {
      const double a = x[j], b = x[j + half];
      x[j] = static_cast<float>(a * cos[j] - b * sin[j]);
      x[j + half] = static_cast<float>(b * cos[j] + a * sin[j]);
    }
  }
}

void convert_to_f16(const float* x, int64_t n, uint16_t* y) noexcept {
  for (int64_t j = 0; j < n; ++j) y[j] = f32_to_f16(x[j]);
}

void route_topk(const float* logits, int64_t n, int64_t k, int32_t* experts, float* weights) noexcept {
  // The k largest so far, largest first; `weights` holds their logits. Equal logits keep the order of their ids.
  int64_t n_found = 0;
  for (int64_t id = 0; id < n; ++id) {
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
  // The softmax's own denominator cancels when the weights of the k are made to sum to 1.
  const double largest = weights[0];
  double sum = 0;
  for (int64_t j = 0; j < n_found; ++j) sum += std::exp(weights[j] - largest);
  for (int64_t j = 0; j < n_found; ++j) weights[j] = static_cast<float>(std::exp(weights[j] - largest) / sum);
}

}  // namespace

void set_rows(KernelTable& table) {
  table.rmsnorm = rmsnorm;
  table.silu_mul = silu_mul;
  table.sigmoid_mul = sigmoid_mul;
  table.add_scaled = add_scaled;
  table.conv4_silu = conv4_silu;
  table.l2norm = l2norm;
  table.gated_rmsnorm = gated_rmsnorm;
  table.rope = rope;
  table.f32_to_f16 = convert_to_f16;
  table.route_topk = route_topk;
}

}  // namespace flashmoe::scalar
