#include <cmath>

#include "kernels/cpu/tables.h"

namespace flashmoe::scalar {
namespace {

void delta_gates(float* alpha, float* beta, const float* dt_bias, const float* neg_a, int64_t n_heads) noexcept {
  for (int64_t h = 0; h < n_heads; ++h) {
    const double x = double{alpha[h]} + dt_bias[h];
    const double softplus = std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
    alpha[h] = static_cast<float>(neg_a[h] * softplus);
    beta[h] = static_cast<float>(1 / (1 + std::exp(-double{beta[h]})));
  }
}

// Token by token; the columns of S do not see each other, so each goes through the token alone.
void delta(const DeltaHead& head) noexcept {
  for (int64_t t = 0; t < head.n; ++t) {
    const float* q = head.q + t * head.qk_stride;
    const float* k = head.k + t * head.qk_stride;
    const double decay = std::exp(double{head.log_decay[t * head.gate_stride]});
    const double beta = head.beta[t * head.gate_stride];
    for (int64_t c = 0; c < head.d_value; ++c) {
      float* column = head.state + c;  // [d_key] with stride d_value
      double remembered = 0;
      for (int64_t i = 0; i < head.d_key; ++i) remembered += decay * column[i * head.d_value] * k[i];
      const double change = (head.v[t * head.v_stride + c] - remembered) * beta;
      double out = 0;
      for (int64_t i = 0; i < head.d_key; ++i) {
        const double updated = decay * column[i * head.d_value] + k[i] * change;
        column[i * head.d_value] = static_cast<float>(updated);
        out += updated * q[i];
      }
      head.out[t * head.out_stride + c] = static_cast<float>(out);
    }
  }
}

// The chunked form is a faster order of the same sums.
void delta_chunk(const DeltaHead* heads, int64_t n_heads) noexcept {
  for (int64_t h = 0; h < n_heads; ++h) delta(heads[h]);
}

}  // namespace

void set_delta(KernelTable& table) {
  table.delta_gates = delta_gates;
  table.delta_step = delta;
  table.delta_chunk = delta_chunk;
}

}  // namespace flashmoe::scalar
