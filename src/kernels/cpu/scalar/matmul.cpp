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

void quantise_activations(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale, float* sum) noexcept {
  for (int64_t block = 0; block < n * cols / kActivationBlock; ++block) {
    const float* from = x + block * kActivationBlock;
    int8_t* to = q8 + block * kActivationBlock;
    float largest = 0;
    for (int j = 0; j < kActivationBlock; ++j) largest = std::max(largest, std::fabs(from[j]));
    // Below 1e-30 the inverse would overflow: such a block counts as zero.
    const bool is_zero = largest < 1e-30f;
    const float inverse = is_zero ? 0.0f : 127.0f / largest;
    int total = 0;
    for (int j = 0; j < kActivationBlock; ++j) {
      to[j] = static_cast<int8_t>(std::lrintf(from[j] * inverse));
      total += to[j];
    }
    scale[block] = is_zero ? 0.0f : largest / 127.0f;
    sum[block] = scale[block] * static_cast<float>(total);
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
