#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/tables.h"
#include "quant/f16.h"

namespace flashmoe::scalar {
namespace {

double as_double(float value) { return value; }
double as_double(uint16_t half) { return f16_to_f32(half); }

constexpr int64_t kDims = 256;  // output dimensions summed at a time

template <typename Stored>
void attention(const AttentionHead& head) noexcept {
  const auto* keys = static_cast<const Stored*>(head.k);
  const auto* values = static_cast<const Stored*>(head.v);
  for (int64_t h = 0; h < head.n_queries; ++h) {
    const float* q = head.q + h * head.q_stride;
    const auto score = [&](int64_t position) {
      double dot = 0;
      for (int64_t j = 0; j < head.d_head; ++j) dot += q[j] * as_double(keys[position * head.kv_stride + j]);
      return dot * head.scale;
    };
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t p = 0; p < head.n_positions; ++p) largest = std::max(largest, score(p));
    for (int64_t first = 0; first < head.d_head; first += kDims) {
      const int64_t n_dims = std::min(kDims, head.d_head - first);
      double sums[kDims] = {}, total = 0;
      for (int64_t p = 0; p < head.n_positions; ++p) {
        const double weight = std::exp(score(p) - largest);
        total += weight;
        for (int64_t j = 0; j < n_dims; ++j) sums[j] += weight * as_double(values[p * head.kv_stride + first + j]);
      }
      for (int64_t j = 0; j < n_dims; ++j)
        head.out[h * head.out_stride + first + j] = static_cast<float>(sums[j] / total);
    }
  }
}

}  // namespace

void set_attention(KernelTable& table) {
  table.attention_f16 = attention<uint16_t>;
  table.attention_f32 = attention<float>;
}

}  // namespace flashmoe::scalar
