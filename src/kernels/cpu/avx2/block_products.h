// 32 columns of 16 weight rows, in the lanes of two registers, times some rows of int8 activations, AVX2.
//
// Whatever weights are unpacked from and wherever they lie then, a result is the sum over blocks of 32 columns in their
// order, and each block adds
//   scale sum((q - offset) x) x_scale - min x_sum       with q as WeightBytes says, or with a factor of each 16 columns
//   scale sum_j(fine_j sum((q - offset) x)) x_scale, or
//   scale sum_j(fine_j sum(q x)) x_scale - min sum_j(fine_min_j sum(x)) x_scale
#pragma once

#include <bit>

#include "kernels/cpu/avx2/products.h"
#include "kernels/kernels.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int kRowsAtOnce = 4;  // of activations, whose sums fit in the registers

// What weights are unpacked to.
struct PanelForm {
  WeightBytes bytes;
  bool has_min = false;       // that meets sums of activations
  bool has_fine_min = false;  // the same with a factor for each 16 columns
  int offset = 0;             // by which unsigned weights are too large; a power of two where factors are fine
  int columns_apart = 1;      // of a four: with 2, fours 0 and 1 have columns 0 2 4 6 and 1 3 5 7

  // By what weights are too large in the end.
  constexpr int too_large() const { return has_fine_min ? 0 : bytes.needs_start() ? 128 : offset; }
  // What of a block of activations is in PackedBlock::start: its sums of 16, 16 bits each, or -too_large() times its
  // sum.
  constexpr bool has_sums_of_16() const { return has_fine_min || (bytes.has_fine && too_large() > 0); }
  constexpr bool has_start() const { return has_sums_of_16() || too_large() > 0; }
};

template <PanelForm kForm>
inline int32_t start_of(__m256i q8) {
  const __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q8), _mm256_set1_epi16(1));
  const __m256i twos = _mm256_hadd_epi32(fours, fours), halves = _mm256_hadd_epi32(twos, twos);
  const int32_t low = _mm256_extract_epi32(halves, 0), high = _mm256_extract_epi32(halves, 4);
  if constexpr (kForm.has_sums_of_16()) return (low & 0xffff) | high << 16;
  return -kForm.too_large() * (low + high);
}

// Which of 16 columns are in fours, one four after the other.
struct ColumnOrder {
  alignas(16) uint8_t of[16];
};
consteval ColumnOrder column_order(int columns_apart) {
  ColumnOrder order = {};
  const int n = 4 * columns_apart;  // columns that share fours
  for (int j = 0; j < 16; ++j) {
    order.of[j] = static_cast<uint8_t>(j / n * n + j % n / 4 + columns_apart * (j % 4));
  }
  return order;
}
template <PanelForm kForm>
inline __m256i in_order_of_fours(__m256i q8) {
  if constexpr (kForm.columns_apart == 1) return q8;
  static constexpr ColumnOrder kOrder = column_order(kForm.columns_apart);
  return _mm256_shuffle_epi8(q8, _mm256_broadcastsi128_si256(load16(kOrder.of)));
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
template <PanelForm kForm, int M>
inline void pack_rows(const Activations& x, int64_t row, int64_t block, int64_t n_blocks, PackedBlock<M>* to) {
  for (int64_t b = n_blocks; b % 8 != 0; ++b) to[b] = {};
  for (int m = 0; m < M; ++m) {
    const int64_t at = (row + m) * (x.cols / kActivationBlock) + block;
    for (int64_t b = 0; b < n_blocks; ++b) {
      const __m256i q8 = load32(x.q8 + (at + b) * kActivationBlock);
      const __m256i ordered = in_order_of_fours<kForm>(q8);
      int32_t fours[8];
      __builtin_memcpy(fours, &ordered, sizeof(fours));
      for (int k = 0; k < 8; ++k) to[b].fours[k][m] = fours[k];
      to[b].scale[m] = x.scale[at + b];
      to[b].sum[m] = x.sum[at + b];
      if constexpr (kForm.has_start()) to[b].start[m] = start_of<kForm>(q8);
    }
  }
}

// What is multiplied at once: columns of rows of activations that stay in L2.
struct Pass {
  int64_t first, n;           // rows of activations
  int64_t first_col, n_cols;  // a multiple of 32
};
inline constexpr int64_t kRowsOfPass = 64, kColsOfPass = 2048;

// Calls body(pass) with passes of n_cols columns, at most kColsOfPass, all columns of some rows one after the other.
template <typename Body>
inline void over_passes(const Activations& x, int64_t n_cols, Body body) {
  for (int64_t first = 0; first < x.n; first += kRowsOfPass) {
    const int64_t n = x.n - first < kRowsOfPass ? x.n - first : kRowsOfPass;
    for (int64_t col = 0; col < x.cols; col += n_cols) {
      body(Pass{first, n, col, x.cols - col < n_cols ? x.cols - col : n_cols});
    }
  }
}

// The activations of a pass, packed in groups of kRowsAtOnce, and the rest as one of fewer.
template <PanelForm kForm>
class PackedActivations {
 public:
  PackedActivations(const Activations& x, const Pass& pass)
      : n_(pass.n), n_blocks_((pass.n_cols + kSuperblock - 1) / kSuperblock * 8) {
    over_groups([&]<int M>(int64_t row, PackedBlock<M>* to) {
      pack_rows<kForm, M>(x, pass.first + row, pass.first_col / kActivationBlock, pass.n_cols / kActivationBlock, to);
    });
  }
  int64_t n() const { return n_; }
  int64_t n_groups() const { return (n_ + kRowsAtOnce - 1) / kRowsAtOnce; }

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
    if (n_ - row == 3) next.template operator()<3>();
    if (n_ - row == 2) next.template operator()<2>();
    if (n_ - row == 1) next.template operator()<1>();
  }

 private:
  int64_t n_, n_blocks_;
  alignas(32) std::byte memory_[kRowsOfPass * kColsOfPass / kActivationBlock * kPackedBytes];
};

// 8 weight rows of a block are a Half: kForm, four(k) with bytes 4 k .. 4 k + 3 of each row, scale(), min(), and of
// fine factors fine(j), twice, and fine_pair(), those of the minimum if that has some.

// The whole-numbered sums of a block. One load of activations feeds the products of both halves. behind(k, product) is
// called behind each four.
template <typename Half, int M, typename Behind>
[[gnu::always_inline]] inline void block_sums(const Half (&w)[2], const PackedBlock<M>& x, __m256i (&sums)[2][M],
                                              Behind behind) {
  constexpr WeightBytes kBytes = Half::kForm.bytes;
  constexpr int kPart = kBytes.together();
  __m256i parts[2][M];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    const Fours<kBytes> low(w[0].four(k)), high(w[1].four(k));
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const __m256i x4 = _mm256_set1_epi32(x.fours[k][m]);
      parts[0][m] = k % kPart == 0 ? low.times(x4) : low.times(x4, parts[0][m]);
      parts[1][m] = k % kPart == 0 ? high.times(x4) : high.times(x4, parts[1][m]);
    }
    behind(k, parts[0][0]);
    if (k % kPart != kPart - 1) continue;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        __m256i sum = parts[half][m];
        if constexpr (kBytes.has_fine) {
          sum = times_fine(sum, w[half].fine(k / 4));
        } else if constexpr (!kHasVnni) {
          sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
        }
        sums[half][m] = k < kPart ? sum : _mm256_add_epi32(sums[half][m], sum);
      }
    }
  }
}

// totals [M] += a block of 8 weight rows times M rows of activations.
template <typename Half, int M>
[[gnu::always_inline]] inline void add_block(const Half& w, const PackedBlock<M>& x, const __m256i (&sums)[M],
                                             __m256 (&totals)[M]) {
  constexpr PanelForm kForm = Half::kForm;
  const __m256 scale = w.scale();
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    const __m256 x_scale = _mm256_broadcast_ss(&x.scale[m]);
    const auto start = [&] { return _mm256_set1_epi32(x.start[m]); };
    __m256i sum = sums[m];
    if constexpr (kForm.has_sums_of_16() && !kForm.has_fine_min) {
      const __m256i sums_of_16 = _mm256_madd_epi16(w.fine_pair(), start());
      sum = _mm256_sub_epi32(sum,
                             _mm256_slli_epi32(sums_of_16, std::countr_zero(static_cast<unsigned>(kForm.too_large()))));
    } else if constexpr (kForm.too_large() > 0) {
      sum = _mm256_add_epi32(sum, start());
    }
    totals[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, x_scale), totals[m]);
    if constexpr (kForm.has_min) {
      totals[m] = _mm256_fnmadd_ps(w.min(), _mm256_broadcast_ss(&x.sum[m]), totals[m]);
    } else if constexpr (kForm.has_fine_min) {
      const __m256 mins = _mm256_cvtepi32_ps(_mm256_madd_epi16(w.fine_pair(), start()));
      totals[m] = _mm256_fnmadd_ps(mins, _mm256_mul_ps(w.min(), x_scale), totals[m]);
    }
  }
}

template <typename Half, int M, typename Behind>
[[gnu::always_inline]] inline void add_block(const Half (&w)[2], const PackedBlock<M>& x, __m256 (&totals)[2][M],
                                             Behind behind) {
  __m256i sums[2][M];
  block_sums(w, x, sums, behind);
  add_block(w[0], x, sums[0], totals[0]);
  add_block(w[1], x, sums[1], totals[1]);
}

// Where the results of 16 weight rows go.
struct Results {
  float* y;  // [rows of activations, 16] with y_stride: added to, unless `begins`
  int64_t y_stride;
  int64_t n_rows;  // of the weights, that are there
  bool begins;

  template <int M>
  void read(int64_t row, __m256 (&totals)[2][M]) const {
    for (int half = 0; half < 2; ++half) {
      for (int m = 0; m < M; ++m) totals[half][m] = begins ? _mm256_setzero_ps() : read(row + m, half);
    }
  }
  template <int M>
  void write(int64_t row, const __m256 (&totals)[2][M]) const {
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

}  // namespace flashmoe::FLASHMOE_ISA
