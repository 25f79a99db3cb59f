// Weights of which rows can lie interleaved times int8 activations, AVX2: any number of rows of either.
//
// Few rows of activations are multiplied with weights that are unpacked in registers, many with panels. Rows that do
// not lie interleaved are, a piece of 16 at a time, before they are multiplied. The bits are the same
// (block_products.h).
#pragma once

#include "kernels/cpu/avx2/interleaved_values_32.h"
#include "kernels/cpu/avx2/panels.h"
#include "kernels/cpu/avx2/scales_apart.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kFewRows = 2;  // for which unpacking to memory does not pay

template <typename Block>
consteval PanelForm form_of() {
  using Values = InterleavedValues<Block>;
  PanelForm form = {.bytes = Values::kBytes, .has_min = HasMinimum<Block>, .has_fine_min = HasFineMinimum<Block>};
  if constexpr (requires { Values::kOffset; }) form.offset = Values::kOffset;
  if constexpr (requires { Values::kColumnsApart; }) form.columns_apart = Values::kColumnsApart;
  return form;
}

// Block b of superblock s, unpacked in registers.
template <typename Block, typename Apart>
struct InterleavedHalf {
  static constexpr PanelForm kForm = form_of<Block>();
  const InterleavedValues<Block>& of;
  const Apart& apart;
  int64_t s;
  int b, half;

  __m256i four(int k) const { return of.four(b, k); }
  __m256 scale() const {
    if constexpr (kHasScalesApart<Block>) {
      return apart.scale(8 * s + b, half);
    } else {
      return of.scale(b);
    }
  }
  __m256 min() const {
    if constexpr (kForm.has_fine_min) {
      return of.dmin;
    } else if constexpr (kHasScalesApart<Block>) {
      return apart.min(8 * s + b, half);
    } else {
      return of.min(b);
    }
  }
  __m256i fine(int j) const { return of.fine.twice(2 * b + j); }
  __m256i fine_pair() const {
    if constexpr (kForm.has_fine_min) return of.fine_min.pair(b);
    return of.fine.pair(b);
  }
};

// Superblocks [first, first + n) of 16 weight rows that lie interleaved, each row with `cols` columns.
template <typename Block, typename Apart>
struct InterleavedPiece {
  const std::byte* group;
  int64_t cols, first, n;
  const Apart& apart;  // scales of these superblocks
  bool is_followed;    // by 16 rows more

  // The same superblocks of those, on their way to L2 in n_times.
  WeightsAhead next(int64_t n_times) const {
    const auto bytes = [](int64_t n_cols) { return kInterleavedRows * row_bytes_of<Block>(n_cols); };
    const auto* from = reinterpret_cast<const char*>(group) + bytes(cols) + bytes(first * kSuperblock);
    return {from, is_followed ? from + bytes(n * kSuperblock) : from, n_times};
  }

  // Calls body(block, halves, the superblock's words) for each block of 32 columns.
  template <typename Body>
  [[gnu::always_inline]] void over_blocks(Body body) const {
    using Values = InterleavedValues<Block>;
    for (int64_t s = 0; s < n; ++s) {
      const auto places = superblock_of<Block>(group, cols, first + s);
      const Values w[2] = {Values({places, 0}), Values({places, 1})};
#pragma GCC unroll 8
      for (int b = 0; b < 8; ++b) {
        const InterleavedHalf<Block, Apart> halves[2] = {{w[0], apart, s, b, 0}, {w[1], apart, s, b, 1}};
        body(8 * s + b, halves, places.first_word);
      }
    }
  }
};

template <typename Block>
using Panel = PanelBlock<form_of<Block>()>;

template <typename Block, typename Apart>
inline void unpack(const InterleavedPiece<Block, Apart>& piece, Panel<Block>* to) {
  piece.over_blocks([to](int64_t b, const auto& halves, const std::byte*) __attribute__((always_inline)) {
    store_half(halves[0], 0, to + b);
    store_half(halves[1], 1, to + b);
  });
}

template <typename Block, typename Apart, int M>
[[gnu::flatten]] inline void multiply_in_registers(const InterleavedPiece<Block, Apart>& piece, const PackedBlock<M>* x,
                                                   const Results& to) {
  using Parts = WordsAndHalves<Block>;
  __m256 totals[2][M];
  to.read(0, totals);
  piece.over_blocks([&](int64_t b, const auto& halves, const std::byte* words) __attribute__((always_inline)) {
    add_block(
        halves, x[b], totals, [&](int k, __m256i& product) __attribute__((always_inline)) {
          const int64_t four = b % 8 * 8 + k;
          for (int64_t line = Parts::kWords * four / 64; line < Parts::kWords * (four + 1) / 64; ++line) {
            ask_ahead_of(words + 64 * line, product);
          }
        });
  });
  to.write(0, totals);
}

template <typename Block, typename Apart>
inline void multiply(const InterleavedPiece<Block, Apart>& piece, PackedActivations<form_of<Block>()>& x,
                     const Results& to) {
  if (x.n() > kFewRows) {
    Panel<Block> panel[kColsOfPanel / kActivationBlock];
    unpack(piece, panel);
    multiply_panel(panel, 8 * piece.n, x, to, piece.next(8 * piece.n * x.n_groups()));
    return;
  }
  x.over_groups([&]<int M>(int64_t, const PackedBlock<M>* blocks) {
    if constexpr (M <= kFewRows) multiply_in_registers(piece, blocks, to);
  });
}

// Columns that are multiplied at once.
inline int64_t cols_of_pass(const Activations& x) { return x.n > kFewRows ? kColsOfPanel : kColsOfPass; }

template <typename Block>
inline void interleaved_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                               int64_t row_end) noexcept {
  const int64_t row_bytes = row_bytes_of<Block>(w.cols);
  over_passes(x, cols_of_pass(x), [&](const Pass& pass) {
    PackedActivations<form_of<Block>()> packed(x, pass);
    const int64_t n_superblocks = pass.n_cols / kSuperblock;
    for (int64_t row = row_begin; row < row_end; row += kInterleavedRows) {
      const int64_t n_rows = row_end - row;
      const Results to = {y + pass.first * y_stride + row, y_stride, n_rows, pass.first_col == 0};
      with_interleaved_scales<Block>(w, row, pass, [&]<typename Apart>(const Apart& apart) {
        const InterleavedPiece<Block, Apart> piece = {
            w.data + row * row_bytes, w.cols, pass.first_col / kSuperblock, n_superblocks, apart,
            n_rows > kInterleavedRows};
        multiply(piece, packed, to);
      });
    }
  });
}

// The columns of a pass of 16 rows, of which n_rows are there, interleaved for the occasion. Returns how many
// superblocks they are; the last one may end in zeros.
template <typename Block>
inline int64_t interleave_piece(const MatrixView& w, int64_t row, int64_t n_rows, const Pass& pass, std::byte* to) {
  constexpr int64_t kBlocks = kSuperblock / Block::kValues;
  const int64_t n_blocks = pass.n_cols / Block::kValues, n_superblocks = (n_blocks + kBlocks - 1) / kBlocks;
  for (int64_t s = 0; s < n_superblocks; ++s) {
    const int64_t n_here = n_blocks - s * kBlocks < kBlocks ? n_blocks - s * kBlocks : kBlocks;
    RowsOfBlocks<Block> superblocks;
    Block whole[kInterleavedRows][kBlocks];
    for (int64_t r = 0; r < kInterleavedRows; ++r) {
      const int64_t there = row + (r < n_rows ? r : n_rows - 1);
      superblocks.rows[r] = reinterpret_cast<const Block*>(w.data + there * row_bytes_of<Block>(w.cols)) +
                            pass.first_col / Block::kValues + s * kBlocks;
      if (n_here == kBlocks) continue;
      __builtin_memset(whole[r], 0, sizeof(whole[r]));
      __builtin_memcpy(whole[r], superblocks.rows[r], static_cast<size_t>(n_here) * sizeof(Block));
      superblocks.rows[r] = whole[r];
    }
    store_interleaved(superblocks, superblock_of<Block>(to, n_superblocks * kSuperblock, s));
  }
  return n_superblocks;
}

template <typename Block>
inline void int8_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                        int64_t row_end) noexcept {
  std::byte memory[kInterleavedRows * row_bytes_of<Block>(kColsOfPass)];
  over_passes(x, cols_of_pass(x), [&](const Pass& pass) {
    PackedActivations<form_of<Block>()> packed(x, pass);
    for (int64_t row = row_begin; row < row_end; row += kInterleavedRows) {
      const int64_t n_rows = row_end - row < kInterleavedRows ? row_end - row : kInterleavedRows;
      const int64_t n_superblocks = interleave_piece<Block>(w, row, n_rows, pass, memory);
      const Results to = {y + pass.first * y_stride + row, y_stride, n_rows, pass.first_col == 0};
      with_gathered_scales<Block>(w, row, n_rows, pass, [&]<typename Apart>(const Apart& apart) {
        const InterleavedPiece<Block, Apart> piece = {memory, n_superblocks * kSuperblock, 0, n_superblocks, apart,
                                                      false};
        multiply(piece, packed, to);
      });
    }
  });
}

}  // namespace flashmoe::FLASHMOE_ISA
