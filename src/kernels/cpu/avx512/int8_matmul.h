// Matmuls on int8 activations with AVX-512 VNNI: which rows are multiplied how.
#pragma once

#include "kernels/cpu/avx512/int8_matvec.h"
#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/cpu/avx512/interleaved_matvec.h"
#include "kernels/cpu/avx512/whole_gemm.h"
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
inline constexpr int64_t kMinGemmRows = Source::kForm.has_planes() || Source::kForm.is_whole() || UnpacksColumns<Source>
                                            ? 5
                                            : 9;
template <IsInterleaved Source>
inline constexpr int64_t kMinGemmRows<Source> = Source::kForm.kind == Kind::kFine || HasScalesApart<Source> ? 13 : 25;
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

template <typename Source>
requires(IsInterleaved<Source> ||
         Source::kForm.is_whole()) inline void matvec(const MatrixView& w, const Activations& x, float* y,
                                                      int64_t y_stride, int64_t row_begin, int64_t row_end) {
  tiles_matvec<Source>(w, x, y, y_stride, row_begin, row_end);
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

inline constexpr int kPanels = 2;
static_assert(kPanels * kTileRows == kMatmulTileRows);

// How rows of a source become panels, and how these are multiplied with activations, which are packed for them. As many
// rows of these at once as have sums and totals, and of fine forms a third, that fit in the registers.
template <typename Source>
struct PanelProduct {
  static constexpr Form kForm = Source::kForm, kPanel = panel_form(kForm);
  static constexpr int kMostRows = kForm.has_fine() ? 4 : 6;
  using Multiply = decltype(&multiply_panels<kPanel, 1, 1>);
  template <int R>
  static constexpr Multiply kMultiply[] = {multiply_panels<kPanel, 1, R>,
                                           multiply_panels<kPanel, 2, R>,
                                           multiply_panels<kPanel, 3, R>,
                                           multiply_panels<kPanel, 4, R>,
                                           multiply_panels<kPanel, (kMostRows < 5 ? 1 : 5), R>,
                                           multiply_panels<kPanel, (kMostRows < 6 ? 1 : 6), R>};

  explicit PanelProduct(int64_t n_cols) : cols(n_cols), order(block_order(n_cols)) {}
  int64_t panel_bytes() const { return Panels<kPanel>::bytes(1, cols); }
  int64_t row_bytes() const { return order.n_blocks() * x_block_bytes(kForm); }  // of packed activations
  int64_t n_steps() const { return order.n_blocks(); }  // of a multiplication, each of which asks for weights

  void pack(const Activations& x, int64_t first, int n, std::byte* to) const {
    pack_rows<kForm>(x, first, n, order, to);
  }
  void fill(const MatrixView& w, int64_t row, int n_rows, std::byte* panels, int r) const {
    fill_panel<Source>(w, row, n_rows, order, Panels<kPanel>(panels, cols).panel(r));
  }
  // n rows of activations times one panel or two.
  void multiply(std::byte* panels, int n_panels, const std::byte* packed, int n, float* y, int64_t y_stride,
                uint32_t rows, WeightsAhead& next) const {
    const Panels<kPanel> first(panels, cols);
    (n_panels == 1 ? kMultiply<1> : kMultiply<2>)[n - 1](first, packed, order, y, y_stride, rows, next);
  }

  int64_t cols;
  BlockOrder order;
};

template <typename Source>
requires(Source::kForm.is_whole()) struct PanelProduct<Source> {
  static constexpr int kMostRows = kWholeRows;
  using Multiply = decltype(&multiply_whole_panels<1, 1>);
  template <int R>
  static constexpr Multiply kMultiply[] = {multiply_whole_panels<1, R>, multiply_whole_panels<2, R>,
                                           multiply_whole_panels<3, R>, multiply_whole_panels<4, R>,
                                           multiply_whole_panels<5, R>, multiply_whole_panels<6, R>};

  explicit PanelProduct(int64_t cols) : n_superblocks(cols / kSuperblock) {}
  int64_t panel_bytes() const { return n_superblocks * static_cast<int64_t>(sizeof(WholePanel)); }
  int64_t row_bytes() const { return n_superblocks * kWholeBytes; }
  int64_t n_steps() const { return n_superblocks * kPairs; }

  void pack(const Activations& x, int64_t first, int n, std::byte* to) const {
    for (int64_t s = 0; s < n_superblocks; ++s, to += n * kWholeBytes) pack_superblock({x, first, s, n}, to);
  }
  void fill(const MatrixView& w, int64_t row, int n_rows, std::byte* panels, int r) const {
    auto* to = reinterpret_cast<WholePanel*>(panels) + r * n_superblocks;
    for (int64_t s = 0; s < n_superblocks; ++s) Source::columns(w, row, n_rows, s, to + s);
  }
  void multiply(const std::byte* panels, int n_panels, const std::byte* packed, int n, float* y, int64_t y_stride,
                uint32_t rows, WeightsAhead& next) const {
    const WholePanels of_rows = {reinterpret_cast<const WholePanel*>(panels), n_superblocks};
    (n_panels == 1 ? kMultiply<1> : kMultiply<2>)[n - 1](of_rows, packed, y, y_stride, rows, next);
  }

  int64_t n_superblocks;
};

// n in parts of at most `largest`, as equal as can be.
struct Parts {
  int64_t n, n_parts;
  int64_t first(int64_t part) const { return part * (n / n_parts) + (part < n % n_parts ? part : n % n_parts); }
  int size(int64_t part) const { return static_cast<int>(n / n_parts + (part < n % n_parts ? 1 : 0)); }
};
inline Parts parts(int64_t n, int64_t largest) { return {n, (n + largest - 1) / largest}; }

// Rows of activations that are packed soon.
inline void ask_for_rows(const Activations& x, int64_t first, int64_t n) {
  const auto* const rows = reinterpret_cast<const char*>(x.q8);
  for (int64_t at = first * x.cols; at < (first + n) * x.cols; at += 64) _mm_prefetch(rows + at, _MM_HINT_T0);
}

// Activation rows [first, first + n), all packed at once.
template <typename Source>
inline void gemm(const MatrixView& w, const Activations& x, int64_t first, int64_t n, float* y, int64_t y_stride,
                 int64_t row_begin, int64_t row_end, std::byte* scratch) {
  constexpr int kRows = kPanels * kTileRows;
  const PanelProduct<Source> product(x.cols);
  std::byte* packed = scratch + kPanels * product.panel_bytes();
  const Parts groups = parts(n, product.kMostRows);
  const auto data = [&](int64_t row) { return Source(w, row < row_end ? row : row_end).data(); };
  WeightsAhead first_tile(data(row_begin), data(row_begin + kRows), product.n_steps());
  while (first_tile.at < first_tile.end) first_tile.prefetch();
  for (int64_t g = 0; g < groups.n_parts; ++g) {
    if (g + 1 < groups.n_parts) ask_for_rows(x, first + groups.first(g + 1), groups.size(g + 1));
    product.pack(x, first + groups.first(g), groups.size(g), packed + groups.first(g) * product.row_bytes());
  }
  for (int64_t tile = row_begin; tile < row_end; tile += kRows) {
    const int n_rows = static_cast<int>(row_end - tile < kRows ? row_end - tile : kRows);
    const auto rows = static_cast<uint32_t>((uint64_t{1} << n_rows) - 1);
    for (int r = 0; r < n_rows; r += kTileRows) {
      product.fill(w, tile + r, n_rows - r < kTileRows ? n_rows - r : kTileRows, scratch, r / kTileRows);
    }
    WeightsAhead next(data(tile + kRows), data(tile + 2 * kRows), groups.n_parts * product.n_steps());
    for (int64_t g = 0; g < groups.n_parts; ++g) {
      const int64_t at = groups.first(g);
      product.multiply(scratch, n_rows <= kTileRows ? 1 : kPanels, packed + at * product.row_bytes(), groups.size(g),
                       y + (first + at) * y_stride + tile, y_stride, rows, next);
    }
  }
}

template <typename Source>
inline void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                        int64_t row_end) noexcept {
  if (x.cols > kMaxCols) return scalar::int8_matmul(w, x, y, y_stride, row_begin, row_end);
  const PanelProduct<Source> product(x.cols);
  const int64_t row_bytes = product.row_bytes(), room = kScratchBytes - kPanels * product.panel_bytes();
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
