// Weights times int8 activations with weight rows in the lanes, AVX2: any number of rows of either.
//
// A result is the sum over blocks of 32 columns, in their order. Rows that do not lie interleaved are, a piece of 16 at
// a time, before they are multiplied: the bits are the same.
#pragma once

#include "kernels/cpu/avx2/interleaved_values.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int kRowsAtOnce = 4;               // of activations, whose sums fit in the registers
inline constexpr int64_t kRowsOfPass = 64;          // whose columns of a chunk stay in L2
inline constexpr int64_t kChunk = 8 * kSuperblock;  // columns; 16 weight rows of them stay in L1

template <typename Block>
concept HasMinimum = requires(const InterleavedValues<Block>& w) {
  w.min(0);
};
template <typename Block>
concept HasFineMinimum = requires(const InterleavedValues<Block>& w) {
  w.fine_min;
};

// Whether something is added to the products of a block and a row of activations: -128 times its sum for signed
// weights, or the sums of both of its halves, 16 bits each, for fine factors.
template <typename Block>
inline constexpr bool kHasStarts =
    InterleavedValues<Block>::kBytes.needs_start() || InterleavedValues<Block>::kBytes.has_fine;

template <typename Block>
inline int32_t start_of(__m256i q8) {
  const __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q8), _mm256_set1_epi16(1));
  const __m256i twos = _mm256_hadd_epi32(fours, fours), halves = _mm256_hadd_epi32(twos, twos);
  const int32_t low = _mm256_extract_epi32(halves, 0), high = _mm256_extract_epi32(halves, 4);
  if constexpr (InterleavedValues<Block>::kBytes.has_fine) return (low & 0xffff) | high << 16;
  return -128 * (low + high);
}

// 32 columns of M rows of activations, packed.
template <int M>
struct PackedBlock {
  int32_t fours[8][M];
  float scale[M], sum[M];
  int32_t start[M];
};
inline constexpr int64_t kPackedBytes = sizeof(PackedBlock<1>);  // of each row

// Blocks [block, block + n_blocks) of rows [row, row + M), and zeros up to a whole superblock.
template <typename Block, int M>
inline void pack_rows(const Activations& x, int64_t row, int64_t block, int64_t n_blocks, PackedBlock<M>* to) {
  for (int64_t b = n_blocks; b % 8 != 0; ++b) to[b] = {};
  for (int m = 0; m < M; ++m) {
    const int64_t at = (row + m) * (x.cols / kActivationBlock) + block;
    for (int64_t b = 0; b < n_blocks; ++b) {
      const __m256i q8 = load32(x.q8 + (at + b) * kActivationBlock);
      int32_t fours[8];
      __builtin_memcpy(fours, &q8, sizeof(fours));
      for (int k = 0; k < 8; ++k) to[b].fours[k][m] = fours[k];
      to[b].scale[m] = x.scale[at + b];
      to[b].sum[m] = x.sum[at + b];
      if constexpr (kHasStarts<Block>) to[b].start[m] = start_of<Block>(q8);
    }
  }
}

// 256 columns of 16 weight rows.
template <typename Block>
using TwoHalves = const InterleavedValues<Block> (&)[2];

// The whole-numbered sums of block b. One load of activations feeds the products of both halves.
template <typename Block, int M>
[[gnu::always_inline]] inline void block_sums(TwoHalves<Block> w, int b, const PackedBlock<M>& x,
                                              __m256i (&sums)[2][M]) {
  constexpr WeightBytes kBytes = InterleavedValues<Block>::kBytes;
  constexpr int kPart = kBytes.together();
  __m256i parts[2][M];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    const Fours<kBytes> low(w[0].four(b, k)), high(w[1].four(b, k));
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const __m256i x4 = _mm256_set1_epi32(x.fours[k][m]);
      parts[0][m] = k % kPart == 0 ? low.times(x4) : low.times(x4, parts[0][m]);
      parts[1][m] = k % kPart == 0 ? high.times(x4) : high.times(x4, parts[1][m]);
    }
    if (k % kPart != kPart - 1) continue;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        __m256i sum = parts[half][m];
        if constexpr (kBytes.has_fine) {
          sum = w[half].fine.times(2 * b + k / 4, sum);
        } else if constexpr (!kHasVnni) {
          sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
        }
        sums[half][m] = k < kPart ? sum : _mm256_add_epi32(sums[half][m], sum);
      }
    }
  }
}

// totals [M] += block b of 8 weight rows times M rows of activations.
template <typename Block, int M>
[[gnu::always_inline]] inline void add_block(const InterleavedValues<Block>& w, int b, const PackedBlock<M>& x,
                                             const __m256i (&sums)[M], __m256 (&totals)[M]) {
  using Values = InterleavedValues<Block>;
  const __m256 scale = w.scale(b);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    const __m256 x_scale = _mm256_broadcast_ss(&x.scale[m]), both = _mm256_mul_ps(scale, x_scale);
    const auto start = [&] { return _mm256_set1_epi32(x.start[m]); };
    __m256i sum = sums[m];
    if constexpr (HasMinimum<Block>) {
      const __m256 min = _mm256_mul_ps(w.min(b), _mm256_broadcast_ss(&x.sum[m]));
      totals[m] = _mm256_add_ps(totals[m], _mm256_fmsub_ps(_mm256_cvtepi32_ps(sum), both, min));
    } else if constexpr (HasFineMinimum<Block>) {
      const __m256 mins = _mm256_cvtepi32_ps(w.fine_min.times_two(b, start()));
      const __m256 min = _mm256_mul_ps(mins, _mm256_mul_ps(w.dmin, x_scale));
      totals[m] = _mm256_add_ps(totals[m], _mm256_fmsub_ps(_mm256_cvtepi32_ps(sum), both, min));
    } else {
      if constexpr (Values::kBytes.has_fine) {
        sum = _mm256_sub_epi32(sum, _mm256_slli_epi32(w.fine.times_two(b, start()), Values::kOffsetBits));
      } else if constexpr (Values::kBytes.needs_start()) {
        sum = _mm256_add_epi32(sum, start());
      }
      totals[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), both, totals[m]);
    }
  }
}

// totals [2, M] += 256 columns of 16 weight rows times M rows of activations.
template <typename Block, int M>
inline void add_values(const InterleavedPlaces<const std::byte>& places, const PackedBlock<M> (&x)[8],
                       __m256 (&totals)[2][M]) {
  using Values = InterleavedValues<Block>;
  const Values w[2] = {Values({places, 0}), Values({places, 1})};
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    __m256i sums[2][M];
    block_sums<Block, M>(w, b, x[b], sums);
    add_block<Block, M>(w[0], b, x[b], sums[0], totals[0]);
    add_block<Block, M>(w[1], b, x[b], sums[1], totals[1]);
  }
}

// Some rows of activations, columns of them, packed in groups of kRowsAtOnce, then 2, then 1.
template <typename Block>
class PackedActivations {
 public:
  // Columns [first_col, first_col + n_cols) of rows [first, first + n): at most kChunk and kRowsOfPass.
  PackedActivations(const Activations& x, int64_t first, int64_t n, int64_t first_col, int64_t n_cols)
      : n_(n), n_blocks_((n_cols + kSuperblock - 1) / kSuperblock * 8) {
    over_groups([&]<int M>(int64_t row, PackedBlock<M>* to) {
      pack_rows<Block, M>(x, first + row, first_col / kActivationBlock, n_cols / kActivationBlock, to);
    });
  }
  // Calls body.operator()<M>(row, blocks) for rows [row, row + M).
  template <typename Body>
  void over_groups(Body body) {
    int64_t row = 0;
    const auto next = [&]<int M>() {
      std::byte* const at = memory_ + row * n_blocks_ * kPackedBytes;
      body.template operator()<M>(row, reinterpret_cast<PackedBlock<M>*>(at));
      row += M;
    };
    while (row + kRowsAtOnce <= n_) next.template operator()<kRowsAtOnce>();
    if (n_ - row >= 2) next.template operator()<2>();
    if (n_ - row == 1) next.template operator()<1>();
  }

 private:
  int64_t n_, n_blocks_;
  alignas(32) std::byte memory_[kRowsOfPass * kChunk / kActivationBlock * kPackedBytes];
};

// Columns of 16 weight rows, interleaved, and where their results go.
template <typename Block>
struct Tile {
  const std::byte* group;  // of the piece of rows at hand
  int64_t cols, first, n;  // its columns, and which of its superblocks are multiplied
  int64_t n_rows;          // that are there
  float* y;                // [rows of activations, 16] with y_stride: added to, unless `begins`
  int64_t y_stride;
  bool begins;

  template <int M>
  void multiply(int64_t row, const PackedBlock<M>* x) const {
    __m256 totals[2][M];
    for (int half = 0; half < 2; ++half) {
      for (int m = 0; m < M; ++m) totals[half][m] = begins ? _mm256_setzero_ps() : read(row + m, half);
    }
    for (int64_t s = 0; s < n; ++s) {
      using Superblock = PackedBlock<M>[8];
      add_values<Block, M>(superblock_of<Block>(group, cols, first + s),
                           *reinterpret_cast<const Superblock*>(x + 8 * s), totals);
    }
    for (int half = 0; half < 2; ++half) {
      for (int m = 0; m < M; ++m) write(row + m, half, totals[half][m]);
    }
  }

 private:
  __m256 read(int64_t row, int half) const {
    const float* at = y + row * y_stride + 8 * half;
    const int64_t there = n_rows - 8 * half;
    return there >= 8 ? load(at).v : there > 0 ? load(at, First{there}).v : _mm256_setzero_ps();
  }
  void write(int64_t row, int half, __m256 total) const {
    float* at = y + row * y_stride + 8 * half;
    const int64_t there = n_rows - 8 * half;
    if (there >= 8) {
      store(at, {total});
    } else if (there > 0) {
      store(at, {total}, First{there});
    }
  }
};

template <typename Block>
inline void multiply(const Tile<Block>& tile, PackedActivations<Block>& x) {
  x.over_groups([&]<int M>(int64_t row, const PackedBlock<M>* blocks) { tile.template multiply<M>(row, blocks); });
}

// Calls body(first, n, first_col, n_cols) for what is multiplied at once.
template <typename Body>
inline void over_passes(const Activations& x, Body body) {
  for (int64_t first = 0; first < x.n; first += kRowsOfPass) {
    const int64_t n = x.n - first < kRowsOfPass ? x.n - first : kRowsOfPass;
    for (int64_t col = 0; col < x.cols; col += kChunk) {
      body(first, n, col, x.cols - col < kChunk ? x.cols - col : kChunk);
    }
  }
}

template <typename Block>
inline void interleaved_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                               int64_t row_end) noexcept {
  const int64_t row_bytes = row_bytes_of<Block>(w.cols);
  over_passes(x, [&](int64_t first, int64_t n, int64_t col, int64_t n_cols) {
    PackedActivations<Block> packed(x, first, n, col, n_cols);
    for (int64_t row = row_begin; row < row_end; row += kInterleavedRows) {
      const Tile<Block> tile = {
          w.data + row * row_bytes,   w.cols,   col / kSuperblock, n_cols / kSuperblock, row_end - row,
          y + first * y_stride + row, y_stride, col == 0};
      multiply(tile, packed);
    }
  });
}

// Columns [col, col + n_cols) of 16 rows, of which n_rows are there, interleaved for the occasion. Returns how many
// superblocks they are; the last one may end in zeros.
template <typename Block>
inline int64_t interleave_piece(const MatrixView& w, int64_t row, int64_t n_rows, int64_t col, int64_t n_cols,
                                std::byte* to) {
  constexpr int64_t kBlocks = kSuperblock / Block::kValues;
  const int64_t n_blocks = n_cols / Block::kValues, n_superblocks = (n_blocks + kBlocks - 1) / kBlocks;
  for (int64_t s = 0; s < n_superblocks; ++s) {
    const int64_t n_here = n_blocks - s * kBlocks < kBlocks ? n_blocks - s * kBlocks : kBlocks;
    RowsOfBlocks<Block> superblocks;
    Block whole[kInterleavedRows][kBlocks];
    for (int64_t r = 0; r < kInterleavedRows; ++r) {
      const int64_t there = row + (r < n_rows ? r : n_rows - 1);
      superblocks.rows[r] = reinterpret_cast<const Block*>(w.data + there * row_bytes_of<Block>(w.cols)) +
                            col / Block::kValues + s * kBlocks;
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
  std::byte piece[kInterleavedRows * row_bytes_of<Block>(kChunk)];
  over_passes(x, [&](int64_t first, int64_t n, int64_t col, int64_t n_cols) {
    PackedActivations<Block> packed(x, first, n, col, n_cols);
    for (int64_t row = row_begin; row < row_end; row += kInterleavedRows) {
      const int64_t n_rows = row_end - row < kInterleavedRows ? row_end - row : kInterleavedRows;
      const int64_t n_superblocks = interleave_piece<Block>(w, row, n_rows, col, n_cols, piece);
      const Tile<Block> tile = {piece,  n_superblocks * kSuperblock, 0,        n_superblocks,
                                n_rows, y + first * y_stride + row,  y_stride, col == 0};
      multiply(tile, packed);
    }
  });
}

}  // namespace flashmoe::FLASHMOE_ISA
