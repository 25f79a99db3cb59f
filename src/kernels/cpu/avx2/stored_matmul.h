// Codebooks times int8 activations, AVX2: few rows of activations as stored_rows.h does, many with panels. The bits are
// the same.
#pragma once

#include "kernels/cpu/avx2/interleaved.h"
#include "kernels/cpu/avx2/panels.h"
#include "kernels/cpu/avx2/unpack_iq.h"

namespace flashmoe::FLASHMOE_ISA {

template <typename Block>
consteval PanelForm stored_panel_form() {
  return {.bytes = {.largest = StoredRows<Block>::kForm.largest, .is_signed = true, .has_fine = true}};
}
template <typename Block>
using StoredPanel = PanelBlock<stored_panel_form<Block>()>;

// Block b of 8 rows.
template <typename Block>
struct StoredHalf {
  static constexpr PanelForm kForm = stored_panel_form<Block>();
  const StoredRows<Block>& of;
  int b;
  __m256i fours[8];

  StoredHalf(const StoredRows<Block>& rows, int block) : of(rows), b(block) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const SignedBytes q = of.bytes(r, b);
      fours[r] = _mm256_sign_epi8(q.magnitude, q.sign);
    }
    transpose_8(fours);
  }
  __m256i four(int k) const { return fours[k]; }
  __m256 scale() const { return of.scale(); }
  __m256i fine(int j) const { return side_by_side(of.factor(j, b), of.factor(j, b)); }
  __m256i fine_pair() const { return side_by_side(of.factor(0, b), of.factor(1, b)); }

 private:
  static __m256i side_by_side(__m256i lower, __m256i upper) {
    return _mm256_or_si256(lower, _mm256_slli_epi32(upper, 16));
  }
};

// The columns of a pass of 16 rows, of which n_rows are there: the last one is repeated.
template <typename Block>
inline void unpack(const MatrixView& w, int64_t row, int64_t n_rows, const Pass& pass, StoredPanel<Block>* to) {
  const int64_t row_blocks = w.cols / Block::kValues;
  const Block* const first = reinterpret_cast<const Block*>(w.data) + pass.first_col / Block::kValues;
  for (int half = 0; half < 2; ++half) {
    const Block* rows[kStoredRows];
    for (int64_t r = 0; r < kStoredRows; ++r) {
      const int64_t in_group = 8 * half + r;
      rows[r] = first + (row + (in_group < n_rows ? in_group : n_rows - 1)) * row_blocks;
    }
    for (int64_t s = 0; s < pass.n_cols / kSuperblock; ++s) {
      const StoredRows<Block> unpacked(rows);
#pragma GCC unroll 1
      for (int b = 0; b < 8; ++b) store_half(StoredHalf<Block>(unpacked, b), half, to + 8 * s + b);
      for (const Block*& block : rows) ++block;
    }
  }
}

template <typename Block>
inline void multiply_many(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                          int64_t row_end) {
  StoredPanel<Block> panel[kColsOfPanel / kActivationBlock];
  over_passes(x, kColsOfPanel, [&](const Pass& pass) {
    PackedActivations<stored_panel_form<Block>()> packed(x, pass);
    for (int64_t row = row_begin; row < row_end; row += kInterleavedRows) {
      const int64_t n_rows = row_end - row < kInterleavedRows ? row_end - row : kInterleavedRows;
      unpack<Block>(w, row, n_rows, pass, panel);
      const Results to = {y + pass.first * y_stride + row, y_stride, n_rows, pass.first_col == 0};
      multiply_panel(panel, pass.n_cols / kActivationBlock, packed, to, WeightsAhead(nullptr, nullptr, 1));
    }
  });
}

template <typename Block>
inline void multiply_few(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                         int64_t row_end) {
  const int64_t row_bytes = row_bytes_of<Block>(w.cols);
  for (int64_t row = row_begin; row < row_end; row += kStoredRows) {
    const int64_t n_rows = row_end - row < kStoredRows ? row_end - row : kStoredRows;
    int64_t i = 0;
    const auto run = [&]<int M>() {
      for (; i + M <= x.n; i += M) {
        multiply_stored<Block, M>(w.data + row * row_bytes, n_rows, x, i, y + i * y_stride + row, y_stride);
      }
    };
    run.template operator()<kMostStoredM>();
    run.template operator()<2>();
    run.template operator()<1>();
  }
}

template <typename Block>
inline void stored_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                          int64_t row_end) noexcept {
  const auto multiply = x.n > kMostStoredM ? multiply_many<Block> : multiply_few<Block>;
  multiply(w, x, y, y_stride, row_begin, row_end);
}

}  // namespace flashmoe::FLASHMOE_ISA
