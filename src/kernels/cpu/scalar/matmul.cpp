#include <algorithm>
#include <cmath>

#include "kernels/cpu/tables.h"

namespace flashmoe::scalar {
namespace {

constexpr int64_t kPiece = 256;  // values decoded at a time: a multiple of every format's block
constexpr int64_t kRows = 8;     // activation rows that share one decoded piece

// `activation(i, c)` is x[i, c].
template <typename Activation>
void multiply(const MatrixView& w, int64_t n, float* y, int64_t y_stride, int64_t row_begin, int64_t row_end,
              Activation activation) noexcept {
  const FormatInfo& info = format_info(w.format);
  for (int64_t r = row_begin; r < row_end; ++r) {
    const PackedRow row = w.row(r);
    for (int64_t first = 0; first < n; first += kRows) {
      const int64_t last = std::min(n, first + kRows);
      double sums[kRows] = {};
      for (int64_t c = 0; c < w.cols; c += kPiece) {
        const int64_t n_values = std::min(kPiece, w.cols - c);
        float weights[kPiece];
        info.decode(row, c, n_values, weights);
        for (int64_t i = first; i < last; ++i) {
          for (int64_t j = 0; j < n_values; ++j) sums[i - first] += double{weights[j]} * activation(i, c + j);
        }
      }
      for (int64_t i = first; i < last; ++i) y[i * y_stride + r] = static_cast<float>(sums[i - first]);
    }
  }
}

void matmul_exact(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                  int64_t row_end) noexcept {
  multiply(w, x.n, y, y_stride, row_begin, row_end,
           [&](int64_t i, int64_t c) { return double{x.f32[i * x.cols + c]}; });
}

// The smallest scale of a block: its largest |x| is 127 times it, and |q8| add up to kMostActivationSum at most even if
// all 32 are rounded up. |x| are added in halves, as vectors are, for the same bits everywhere.
float least_scale(const float* x) {
  float sums[kActivationBlock], largest = 0;
  for (int j = 0; j < kActivationBlock; ++j) {
    sums[j] = std::fabs(x[j]);
    largest = std::max(largest, sums[j]);
  }
  for (int half = kActivationBlock / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return std::max(sums[0] * (1.0f / (kMostActivationSum - 24)), largest * (1.0f / 127));  // NaN stays
}

// The blocks of one group.
void quantise_group(const float* x, int64_t n_blocks, int8_t* q8, float* scale, float* sum) {
  float least[kActivationGroup / kActivationBlock], largest = 0, all = 0;
  for (int64_t b = 0; b < n_blocks; ++b) {
    least[b] = least_scale(x + b * kActivationBlock);
    largest = std::max(largest, least[b]);
    all += least[b];
  }
  largest += 0 * all;  // NaN where a value is none or infinite, and with it all scales
  // Below 1e-32 the inverse of a unit could overflow: such a group counts as zero.
  const bool is_zero = largest < 1e-32f;
  const float unit = is_zero ? 0 : largest / kMostActivationScale;
  const float per_unit = is_zero ? 0 : kMostActivationScale / largest;
  for (int64_t b = 0; b < n_blocks; ++b) {
    scale[b] = unit * std::min<float>(std::ceil(least[b] * per_unit), kMostActivationScale);
    const float inverse = scale[b] == 0 ? 0 : 1 / scale[b];
    int total = 0;
    for (int64_t j = b * kActivationBlock; j < (b + 1) * kActivationBlock; ++j) {
      q8[j] = static_cast<int8_t>(std::lrintf(x[j] * inverse));
      total += q8[j];
    }
    sum[b] = scale[b] * static_cast<float>(total);
  }
}

void quantise_activations(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale, float* sum) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < cols; c += kActivationGroup) {
      const int64_t at = i * cols + c, block = at / kActivationBlock;
      const int64_t n_blocks = std::min<int64_t>(kActivationGroup, cols - c) / kActivationBlock;
      quantise_group(x + at, n_blocks, q8 + at, scale + block, sum + block);
    }
  }
}

}  // namespace

void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                 int64_t row_end) noexcept {
  multiply(w, x.n, y, y_stride, row_begin, row_end, [&](int64_t i, int64_t c) {
    const int64_t at = i * x.cols + c;
    return double{x.scale[at / kActivationBlock]} * x.q8[at];
  });
}

void set_matmuls(KernelTable& table) {
  for (int f = 0; f < kFormatCount; ++f) {
    table.matmul_exact[f] = matmul_exact;
    table.matmul_fast[f] = format_info(static_cast<Format>(f)).is_float ? matmul_exact : int8_matmul;
  }
  table.quantise_activations = quantise_activations;
}

}  // namespace flashmoe::scalar
