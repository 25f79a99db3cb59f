// Matmuls on int8 activations with AVX-512 VNNI: which rows are multiplied how.
#pragma once

#include "kernels/cpu/avx512/int8_matvec.h"
#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::avx512 {

// Up to this many activation rows, weights are unpacked into registers for each group of them.
inline constexpr int64_t kGemmRows = 4;
inline constexpr int64_t kMinTileRows = 4;           // of a tile that is worth a panel
inline constexpr int64_t kScratchBytes = 640 << 10;  // panels, on the stack: the larger part of L2

template <typename Source, int N>
inline void multiply_rows(const MatrixView& w, const Activations& x, int64_t first, float* y, int64_t y_stride,
                          int64_t row_begin, int64_t row_end) {
  const MatvecRows<Source::kForm, N> rows(x, first);
  for (int64_t r = row_begin; r < row_end; ++r) rows.multiply(Source(w, r), y + first * y_stride + r, y_stride);
}

template <typename Source>
inline void matvec(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                   int64_t row_end) {
  for (int64_t i = 0; i < x.n;) {
    const int64_t left = x.n - i;
    const auto multiply = left >= 4   ? multiply_rows<Source, 4>
                          : left == 3 ? multiply_rows<Source, 3>
                          : left == 2 ? multiply_rows<Source, 2>
                                      : multiply_rows<Source, 1>;
    multiply(w, x, i, y, y_stride, row_begin, row_end);
    i += left >= 4 ? 4 : left;
  }
}

// Activation rows that share a load of weights: sums and totals of each, and three for fine forms, are in registers.
constexpr int max_group(Form form) { return form.has_fine() ? 8 : 12; }

template <Form kForm>
using MultiplyPanel = void (*)(const PanelBlock<kForm>*, const std::byte*, BlockOrder, float*, int64_t, __mmask16);

template <Form kForm>
inline MultiplyPanel<kForm> multiply_panel_of(int n_rows) {
  constexpr int kMax = max_group(kForm);
  static constexpr MultiplyPanel<kForm> kAll[12] = {
      multiply_panel<kForm, 1>, multiply_panel<kForm, 2>, multiply_panel<kForm, 3>, multiply_panel<kForm, 4>,
      multiply_panel<kForm, 5>, multiply_panel<kForm, 6>, multiply_panel<kForm, 7>, multiply_panel<kForm, 8>,
      multiply_panel < kForm,   kMax < 9 ? 1 : 9 >,       multiply_panel < kForm,   kMax < 10 ? 1 : 10 >,
      multiply_panel < kForm,   kMax < 11 ? 1 : 11 >,     multiply_panel < kForm,   kMax < 12 ? 1 : 12 > };
  return kAll[n_rows - 1];
}

// n in parts of at most `largest`, as equal as can be.
struct Parts {
  int64_t n, n_parts;
  int64_t first(int64_t part) const { return part * (n / n_parts) + (part < n % n_parts ? part : n % n_parts); }
  int size(int64_t part) const { return static_cast<int>(n / n_parts + (part < n % n_parts ? 1 : 0)); }
};
inline Parts parts(int64_t n, int64_t largest) { return {n, (n + largest - 1) / largest}; }

// Activation rows [first, first + n), all packed at once.
template <typename Source>
inline void gemm(const MatrixView& w, const Activations& x, int64_t first, int64_t n, float* y, int64_t y_stride,
                 int64_t row_begin, int64_t row_end, std::byte* scratch) {
  constexpr Form kForm = Source::kForm, kPanel = panel_form(kForm);
  const BlockOrder order = block_order(x.cols);
  auto* panel = reinterpret_cast<PanelBlock<kPanel>*>(scratch);
  std::byte* packed = scratch + order.n_blocks() * static_cast<int64_t>(sizeof(PanelBlock<kPanel>));
  const int64_t row_bytes = order.n_blocks() * x_block_bytes(kForm);
  const Parts groups = parts(n, max_group(kForm));
  for (int64_t g = 0; g < groups.n_parts; ++g) {
    pack_rows<kForm>(x, first + groups.first(g), groups.size(g), order, packed + groups.first(g) * row_bytes);
  }
  for (int64_t tile = row_begin; tile < row_end; tile += kTileRows) {
    const int n_rows = static_cast<int>(row_end - tile < kTileRows ? row_end - tile : kTileRows);
    fill_panel<Source>(w, tile, n_rows, order, panel);
    for (int64_t g = 0; g < groups.n_parts; ++g) {
      const int64_t at = groups.first(g);
      multiply_panel_of<kPanel>(groups.size(g))(panel, packed + at * row_bytes, order,
                                                y + (first + at) * y_stride + tile, y_stride,
                                                static_cast<__mmask16>((1u << n_rows) - 1));
    }
  }
}

template <typename Source>
inline void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                        int64_t row_end) noexcept {
  constexpr Form kForm = Source::kForm;
  if (x.cols > kMaxCols) return scalar::int8_matmul(w, x, y, y_stride, row_begin, row_end);
  const int64_t n_blocks = x.cols / kActivationBlock;
  const int64_t room = kScratchBytes - n_blocks * static_cast<int64_t>(sizeof(PanelBlock<panel_form(kForm)>));
  const int64_t row_bytes = n_blocks * x_block_bytes(kForm);
  const int64_t n_tiled = (row_end - row_begin) % kTileRows < kMinTileRows
                              ? (row_end - row_begin) / kTileRows * kTileRows
                              : row_end - row_begin;
  if (x.n < kGemmRows || room < kGemmRows * row_bytes || n_tiled == 0) {
    return matvec<Source>(w, x, y, y_stride, row_begin, row_end);
  }
  alignas(64) std::byte scratch[kScratchBytes];
  const Parts passes = parts(x.n, room / row_bytes);
  for (int64_t p = 0; p < passes.n_parts; ++p) {
    gemm<Source>(w, x, passes.first(p), passes.size(p), y, y_stride, row_begin, row_begin + n_tiled, scratch);
  }
  if (row_begin + n_tiled < row_end) matvec<Source>(w, x, y, y_stride, row_begin + n_tiled, row_end);
}

}  // namespace flashmoe::avx512
