// Rows of GGUF blocks as a source of weights for the int8 matmuls, AVX-512.
//
// A source of weights is a type like BlockRow. To add a GGUF format: form_of(const Block*) and unpack(const Block*) of
// 256 values, in one of the headers below, and its entry in table.cpp. To add weights that lie otherwise (scales apart,
// say): a source of its own.
#pragma once

#include "kernels/cpu/avx512/unpack_32.h"
#include "kernels/cpu/avx512/unpack_codebooks.h"
#include "kernels/cpu/avx512/unpack_columns.h"
#include "kernels/cpu/avx512/unpack_iq.h"
#include "kernels/cpu/avx512/unpack_k.h"
#include "memory/view.h"

namespace flashmoe::avx512 {

// Reads nothing beyond the row, but may ask the caches for what follows it.
template <typename BlockOfRow>
class BlockRow {
 public:
  using Block = BlockOfRow;
  static constexpr Form kForm = form_of(static_cast<const Block*>(nullptr));
  static constexpr bool kMayEndEarly = Block::kValues < kSuperblock;  // columns need not fill a superblock
  static constexpr bool kLiesInOrder = false;                         // of 16 rows together: interleaved.h

  BlockRow(const MatrixView& w, int64_t row)
      : row_blocks_(w.cols / Block::kValues), blocks_(reinterpret_cast<const Block*>(w.data) + row * row_blocks_) {}

  // Values 256 s .. 256 s + 255.
  Unpacked values(int64_t s) const { return unpack(blocks_ + s * kBlocks); }

  // Values 512 s .. 512 s + 511, of forms that have pairs; if the row ends after 256 of them, these twice.
  UnpackedPair pair_values(int64_t s, bool is_whole) const {
    return unpack_pair(blocks_ + 2 * s, blocks_ + 2 * s + (is_whole ? 1 : 0));
  }

  // The same as values() where the row ends after n < 8 blocks of 32: the scales of the others are zero.
  Unpacked first_values(int64_t s, int n) const {
    Block padded[kBlocks] = {};
    for (int b = 0; b < n && b < kBlocks; ++b) padded[b] = blocks_[s * kBlocks + b];
    Unpacked to = unpack(static_cast<const Block*>(padded));
    const auto there = static_cast<__mmask8>((1 << n) - 1);
    to.scale = _mm256_maskz_mov_ps(there, to.scale);
    to.min = _mm256_maskz_mov_ps(there, to.min);
    return to;
  }

  // The same of rows [first, first + n_rows), the last of them again for lanes up to 16.
  static RowColumns<Block> columns_of(const MatrixView& w, int64_t first, int n_rows, int64_t s) {
    RowColumns<Block> rows;
    for (int r = 0; r < kTileRows; ++r) {
      rows.rows[r] = BlockRow(w, first + (r < n_rows ? r : n_rows - 1)).blocks_ + s * kBlocks;
    }
    return rows;
  }
  // Into a panel: for formats that have unpack_columns.
  template <typename Places>
  static void columns(const MatrixView& w, int64_t first, int n_rows, int64_t s, const Places& to) requires
      requires(const RowColumns<Block>& rows) {
    unpack_columns(rows, to);
  }
  { unpack_columns(columns_of(w, first, n_rows, s), to); }

  // Asks the caches for the same values of the row that is n_rows further on.
  void prefetch(int64_t s, int64_t n_rows) const {
    const auto* from = reinterpret_cast<const char*>(blocks_ + n_rows * row_blocks_ + s * kBlocks);
    for (int line = 0; line < kBytes; line += 64) _mm_prefetch(from + line, _MM_HINT_T0);
  }
  const char* data() const { return reinterpret_cast<const char*>(blocks_); }
  static constexpr int64_t row_bytes(int64_t cols) {
    return cols / Block::kValues * static_cast<int64_t>(sizeof(Block));
  }

 private:
  static constexpr int kBlocks = kSuperblock / Block::kValues, kBytes = kBlocks * static_cast<int>(sizeof(Block));

  int64_t row_blocks_;
  const Block* blocks_;
};

}  // namespace flashmoe::avx512
