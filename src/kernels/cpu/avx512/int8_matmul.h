// Matmuls on int8 activations with AVX-512 VNNI: which rows are multiplied how.
#pragma once

#include "kernels/cpu/avx512/int8_matvec.h"
#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/cpu/avx512/interleaved_matvec.h"
#include "kernels/cpu/tables.h"

namespace flashmoe::avx512 {

template <typename Source>
concept IsInterleaved = requires {
  typename Source::Parts;
};

// From how many activation rows on a panel is worth its unpacking (docs/experiments/0010-where-a-prompts-time-goes.md).
// With fewer, weights are unpacked into registers for each four of them, which costs more for codebooks, and little
// where rows are interleaved.
template <typename Source>
inline constexpr int64_t kMinGemmRows = Source::kForm.has_planes() || UnpacksColumns<Source> ? 5 : 9;
template <IsInterleaved Source>
inline constexpr int64_t kMinGemmRows<Source> = Source::kForm.kind == Kind::kFine ? 13 : 25;
inline constexpr int64_t kMinTileRows = 4;           // of a tile that is worth a panel
inline constexpr int64_t kScratchBytes = 768 << 10;  // panels, on the stack: the larger part of L2

template <typename Source, int N>
inline void multiply_rows(const MatrixView& w, const Activations& x, int64_t first, float* y, int64_t y_stride,
                          int64_t row_begin, int64_t row_end) {
  const MatvecRows<Source::kForm, N> rows(x, first);
  for (int64_t r = row_begin; r < row_end; r += kTileRows) {
    const int n = static_cast<int>(row_end - r < kTileRows ? row_end - r : kTileRows);
    rows.template multiply<Source>(w, r, n, y + first * y_stride + r, y_stride);
  }
}

template <IsInterleaved Source>
inline void matvec(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                   int64_t row_end) {
  interleaved_matvec<typename Source::Block>(w, x, y, y_stride, row_begin, row_end);
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

// Activation rows times panels whose sums and totals, and of fine forms a third, fit in the registers.
inline constexpr int kPanels = 2;
static_assert(kPanels * kTileRows == kMatmulTileRows);
constexpr int max_group(Form form) { return form.has_fine() ? 4 : 6; }

template <Form kForm>
using MultiplyPanels = void (*)(Panels<kForm>, const std::byte*, BlockOrder, float*, int64_t, uint32_t, WeightsAhead&);

template <Form kForm, int R>
inline MultiplyPanels<kForm> multiply_panels_of(int n_rows) {
  constexpr int kMax = max_group(kForm);
  static constexpr MultiplyPanels<kForm> kAll[] = {multiply_panels<kForm, 1, R>,
                                                   multiply_panels<kForm, 2, R>,
                                                   multiply_panels<kForm, 3, R>,
                                                   multiply_panels<kForm, 4, R>,
                                                   multiply_panels<kForm, (kMax < 5 ? 1 : 5), R>,
                                                   multiply_panels<kForm, (kMax < 6 ? 1 : 6), R>};
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
  constexpr int kRows = kPanels * kTileRows;
  const BlockOrder order = block_order(x.cols);
  const Panels<kPanel> panels(scratch, kPanels, x.cols);
  std::byte* packed = scratch + Panels<kPanel>::bytes(kPanels, x.cols);
  const int64_t row_bytes = order.n_blocks() * x_block_bytes(kForm);
  const Parts groups = parts(n, max_group(kForm));
  const auto data = [&](int64_t row) { return Source(w, row < row_end ? row : row_end).data(); };
  WeightsAhead first_tile(data(row_begin), data(row_begin + kRows), order.n_blocks());
  while (first_tile.at < first_tile.end) first_tile.prefetch();
  for (int64_t g = 0; g < groups.n_parts; ++g) {
    pack_rows<kForm>(x, first + groups.first(g), groups.size(g), order, packed + groups.first(g) * row_bytes);
  }
  for (int64_t tile = row_begin; tile < row_end; tile += kRows) {
    const int n_rows = static_cast<int>(row_end - tile < kRows ? row_end - tile : kRows);
    const auto rows = static_cast<uint32_t>((uint64_t{1} << n_rows) - 1);
    for (int r = 0; r < n_rows; r += kTileRows) {
      const int n_here = n_rows - r < kTileRows ? n_rows - r : kTileRows;
      fill_panel<Source>(w, tile + r, n_here, order, panels.panel(r / kTileRows));
    }
    WeightsAhead next(data(tile + kRows), data(tile + 2 * kRows), groups.n_parts * order.n_blocks());
    for (int64_t g = 0; g < groups.n_parts; ++g) {
      const int64_t at = groups.first(g);
      const auto multiply = n_rows <= kTileRows ? multiply_panels_of<kPanel, 1>(groups.size(g))
                                                : multiply_panels_of<kPanel, 2>(groups.size(g));
      multiply(panels, packed + at * row_bytes, order, y + (first + at) * y_stride + tile, y_stride, rows, next);
    }
  }
}

template <typename Source>
inline void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                        int64_t row_end) noexcept {
  constexpr Form kForm = Source::kForm;
  if (x.cols > kMaxCols) return scalar::int8_matmul(w, x, y, y_stride, row_begin, row_end);
  const int64_t n_blocks = x.cols / kActivationBlock;
  const int64_t room = kScratchBytes - Panels<panel_form(kForm)>::bytes(kPanels, x.cols);
  const int64_t row_bytes = n_blocks * x_block_bytes(kForm);
  const int64_t n_tiled = (row_end - row_begin) % kTileRows < kMinTileRows
                              ? (row_end - row_begin) / kTileRows * kTileRows
                              : row_end - row_begin;
  if (x.n < kMinGemmRows<Source> || room < kMinGemmRows<Source> * row_bytes || n_tiled == 0) {
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
