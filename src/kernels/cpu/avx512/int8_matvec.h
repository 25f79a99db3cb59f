// One weight row times a few rows of int8 activations, AVX-512 VNNI: decode.
//
// Sum j of a row's eight takes blocks j, j + 8, j + 16, .. in order, a fused multiply-add for each, and one more for
// its minimum; at the end the eight are added in order. int8_gemm.h does the same for many rows.
#pragma once

#include "kernels/cpu/avx512/block_row.h"
#include "kernels/cpu/avx512/block_sums.h"
#include "kernels/cpu/avx512/transpose.h"

namespace flashmoe::avx512 {

inline constexpr int64_t kBytesAhead = 4096;  // what is asked of memory before it is used

// Activations of 256 values of one row, in the order of a form.
struct Values {
  const int8_t* q8;
  const float *scale, *sum;
  const int32_t* sums;
};

template <Form kForm>
inline __m256 add_superblock(const Unpacked& w, const Values& x, __m256 total) {
  constexpr bool kStartsBelow = kForm.is_upright() && kForm.offset != 0;
  __m512i lanes;
  if constexpr (kStartsBelow) {
    lanes = lane_sums<kForm>(w.q, x.q8, _mm512_load_si512(x.sums));
  } else {
    lanes = lane_sums<kForm>(w.q, x.q8);
  }
  if constexpr (kForm.has_fine()) {
    if constexpr (kForm.offset != 0 && !kStartsBelow) lanes = _mm512_sub_epi32(lanes, _mm512_load_si512(x.sums));
    lanes = _mm512_mullo_epi32(lanes, fine_lanes<kForm>(w.fine));
  }
  __m256i sums = block_sums<kForm>(lanes);
  if constexpr (!kForm.has_fine() && kForm.offset != 0 && !kStartsBelow) sums = _mm256_sub_epi32(sums, load32(x.sums));
  const __m256 x_scale = _mm256_loadu_ps(x.scale);
  total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(w.scale, x_scale), total);
  if constexpr (kForm.has_minimum()) total = _mm256_fnmadd_ps(w.min, _mm256_loadu_ps(x.sum), total);
  if constexpr (kForm.has_fine_minimum()) {
    const __m256i factors = _mm256_cvtepi8_epi16(w.fine_min);
    const __m256i mins = _mm256_dpwssd_epi32(_mm256_setzero_si256(), factors, load32(x.sums));
    total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins), _mm256_mul_ps(w.min, x_scale), total);
  }
  return total;
}

// Lane r of the result: the eight values of sums[r], added in order.
inline __m512 add_in_order(const float (&sums)[kTileRows][8]) {
  __m512i of_value[8];  // of_value[j]: value j of each row
  transpose_8([&](int r) { return sums[r]; }, of_value);
  __m512 total = _mm512_castsi512_ps(of_value[0]);
  for (int j = 1; j < 8; ++j) total = _mm512_add_ps(total, _mm512_castsi512_ps(of_value[j]));
  return total;
}

// Weight rows [row, row + n), at most kTileRows of them, into y[i * y_stride + r]; add_row(w, r, sums) makes the eight
// sums of one weight row, sums[i][r], with each row of activations.
template <typename Source, int N, typename AddRow>
inline void multiply_each(const MatrixView& w, int64_t row, int n, float* y, int64_t y_stride, const AddRow& add_row) {
  alignas(64) float sums[N][kTileRows][8] = {};
  for (int r = 0; r < n; ++r) add_row(Source(w, row + r), r, sums);
  const auto there = static_cast<__mmask16>((1 << n) - 1);
  for (int i = 0; i < N; ++i) _mm512_mask_storeu_ps(y + i * y_stride, there, add_in_order(sums[i]));
}

// Rows [first, first + N) of the activations, with what is needed beside them.
template <Form kForm, int N>
class MatvecRows {
 public:
  MatvecRows(const Activations& x, int64_t first)
      : x_(x),
        first_block_(first * (x.cols / kActivationBlock)),
        n_whole_(x.cols / kSuperblock),
        n_tail_(static_cast<int>(x.cols % kSuperblock / kActivationBlock)) {
    const int64_t row_blocks = x.cols / kActivationBlock;
    for (int i = 0; i < N; ++i) {
      for (int64_t s = 0; 8 * s < row_blocks; ++s) {
        const int n = s < n_whole_ ? 8 : n_tail_;
        copy_values<kForm>(x.q8 + (first_block_ + i * row_blocks + 8 * s) * kActivationBlock, n,
                           q8_[i] + s * kSuperblock);
        if constexpr (kSums != 0) store_sums<kForm>(q8_[i] + s * kSuperblock, sums_[i] + s * kSums);
      }
      if (n_tail_ == 0) continue;
      const int64_t tail = first_block_ + i * row_blocks + 8 * n_whole_;
      _mm256_store_ps(tail_scale_[i], first_floats(x.scale + tail, n_tail_));
      _mm256_store_ps(tail_sum_[i], first_floats(x.sum + tail, n_tail_));
    }
  }

  template <typename Source>
  void multiply(const MatrixView& w, int64_t row, int n, float* y, int64_t y_stride) const {
    multiply_each<Source, N>(w, row, n, y, y_stride,
                             [&](const Source& of, int r, auto& sums) { add_row(of, r, sums); });
  }

 private:
  template <typename Source>
  void add_row(const Source& w, int r, float (&sums)[N][kTileRows][8]) const {
    const int64_t rows_ahead = 1 + kBytesAhead / (Source::row_bytes(x_.cols) + 1);
    __m256 totals[N];
    for (int i = 0; i < N; ++i) totals[i] = _mm256_setzero_ps();
    for (int64_t s = 0; s < n_whole_; ++s) {
      w.prefetch(s, rows_ahead);
      const Unpacked weights = w.values(s);
      for (int i = 0; i < N; ++i) {
        const int64_t block = first_block_ + i * (x_.cols / kActivationBlock) + 8 * s;
        totals[i] = add_superblock<kForm>(weights, values(i, s, x_.scale + block, x_.sum + block), totals[i]);
      }
    }
    if (Source::kMayEndEarly && n_tail_ != 0) {
      const Unpacked weights = w.first_values(n_whole_, n_tail_);
      for (int i = 0; i < N; ++i) {
        totals[i] = add_superblock<kForm>(weights, values(i, n_whole_, tail_scale_[i], tail_sum_[i]), totals[i]);
      }
    }
    for (int i = 0; i < N; ++i) _mm256_store_ps(sums[i][r], totals[i]);
  }

  static constexpr int kSums = sums_per_superblock(kForm);

  Values values(int i, int64_t s, const float* scale, const float* sum) const {
    return {q8_[i] + s * kSuperblock, scale, sum, sums_[i] + s * kSums};
  }

  const Activations& x_;
  int64_t first_block_, n_whole_;
  int n_tail_;
  alignas(64) int8_t q8_[N][kMaxCols];
  alignas(64) int32_t sums_[N][kSums == 0 ? 16 : kMaxCols / kSuperblock * kSums];
  alignas(32) float tail_scale_[N][8], tail_sum_[N][8];
};

// The same for forms that are unpacked 512 values at a time, and the same bits: the eight sums take the blocks one
// after the other here as well.
template <Form kForm, int N>
class PairRows {
 public:
  PairRows(const Activations& x, int64_t first)
      : x_(x), first_block_(first * (x.cols / kActivationBlock)), n_blocks_(x.cols / kActivationBlock) {
    for (int i = 0; i < N; ++i) {
      for (int64_t b = 0; b < n_blocks_; b += kPairBlocks) prepare(i, b);
    }
  }

  template <typename Source>
  void multiply(const MatrixView& w, int64_t row, int n, float* y, int64_t y_stride) const {
    multiply_each<Source, N>(w, row, n, y, y_stride,
                             [&](const Source& of, int r, auto& sums) { add_row(of, r, sums); });
  }

 private:
  static constexpr int kPairBlocks = 16, kPair = kPairBlocks * kActivationBlock;
  static constexpr int kStarts = kForm.has_fine() ? 2 : 1;  // registers of sums

  // The words of 16 blocks of activations from b on as the registers of weights have them, zeros where the row ends,
  // and what the products are added to: the offset's share, negative.
  void prepare(int i, int64_t b) {
    alignas(64) int8_t whole[kPair] = {};
    const int64_t left = n_blocks_ - b;
    const int64_t n = left < kPairBlocks ? left : kPairBlocks;
    __builtin_memcpy(whole, x_.q8 + (first_block_ + i * n_blocks_ + b) * kActivationBlock,
                     static_cast<size_t>(n * kActivationBlock));
    static constexpr Places kOrder = pair_order();
    for (int at = 0; at < kPair; at += 64) {
      _mm512_store_si512(whole + at, _mm512_permutexvar_epi8(kOrder, _mm512_load_si512(whole + at)));
    }
    int8_t* to = q8_[i] + b * kActivationBlock;
    __m512i words[8];
    transpose_8([&](int block) { return whole + block * kActivationBlock; }, words);
    for (int r = 0; r < 8; ++r) _mm512_store_si512(to + 64 * r, words[r]);
    __m512i offsets[8], starts[kStarts] = {};
    for (__m512i& q : offsets) q = _mm512_set1_epi8(static_cast<char>(kForm.offset));
    add_products(offsets, to, starts);
    for (int h = 0; h < kStarts; ++h) {
      _mm512_store_si512(starts_[i] + (b / kPairBlocks * kStarts + h) * 16,
                         _mm512_sub_epi32(_mm512_setzero_si512(), starts[h]));
    }
  }
  // For vpermb: the words of each of two blocks, registers 0 to 7.
  static consteval Places pair_order() {
    Places places = {};
    for (int k = 0; k < 64; ++k) {
      places.from[k] = static_cast<uint8_t>(k / 32 * 32 + kForm.value_of_pair(k % 32 / 4, k % 4));
    }
    return places;
  }

  // Registers 0 to 3 to the first sums, the others to the last.
  static void add_products(const __m512i q[8], const int8_t* x, __m512i sums[kStarts]) {
    for (int r = 0; r < 8; ++r) {
      __m512i& sum = sums[r / 4 * (kStarts - 1)];
      sum = _mm512_dpbusd_epi32(sum, q[r], _mm512_load_si512(x + 64 * r));
    }
  }

  template <typename Source>
  void add_row(const Source& w, int r, float (&sums)[N][kTileRows][8]) const {
    const int64_t rows_ahead = 1 + kBytesAhead / (Source::row_bytes(x_.cols) + 1);
    __m256 totals[N];
    for (int i = 0; i < N; ++i) totals[i] = _mm256_setzero_ps();
    int64_t b = 0;
    for (; b + kPairBlocks <= n_blocks_; b += kPairBlocks) {
      w.prefetch(b / 8, rows_ahead);
      w.prefetch(b / 8 + 1, rows_ahead);
      add_pair<true>(w.pair_values(b / kPairBlocks, true), b, totals);
    }
    if (b < n_blocks_) {
      w.prefetch(b / 8, rows_ahead);
      add_pair<false>(w.pair_values(b / kPairBlocks, false), b, totals);
    }
    for (int i = 0; i < N; ++i) _mm256_store_ps(sums[i][r], totals[i]);
  }

  // 16 blocks from b on, or the first 8 of them where the row ends.
  template <bool kIsWhole>
  void add_pair(const UnpackedPair& w, int64_t b, __m256 (&totals)[N]) const {
    for (int i = 0; i < N; ++i) {
      __m512i sums[kStarts];
      for (int h = 0; h < kStarts; ++h) {
        sums[h] = _mm512_load_si512(starts_[i] + (b / kPairBlocks * kStarts + h) * 16);
      }
      add_products(w.q, q8_[i] + b * kActivationBlock, sums);
      if constexpr (kForm.has_fine()) {
        sums[0] = _mm512_add_epi32(_mm512_mullo_epi32(sums[0], w.fine[0]), _mm512_mullo_epi32(sums[1], w.fine[1]));
      }
      const __m512 sum = _mm512_cvtepi32_ps(sums[0]);
      const float* scales = x_.scale + first_block_ + i * n_blocks_ + b;
      if constexpr (kIsWhole) {
        const __m512 scale = _mm512_mul_ps(w.scale, _mm512_loadu_ps(scales));
        totals[i] = _mm256_fmadd_ps(_mm512_castps512_ps256(sum), _mm512_castps512_ps256(scale), totals[i]);
        totals[i] = _mm256_fmadd_ps(_mm512_extractf32x8_ps(sum, 1), _mm512_extractf32x8_ps(scale, 1), totals[i]);
      } else {
        const __m256 scale = _mm256_mul_ps(_mm512_castps512_ps256(w.scale), _mm256_loadu_ps(scales));
        totals[i] = _mm256_fmadd_ps(_mm512_castps512_ps256(sum), scale, totals[i]);
      }
    }
  }

  const Activations& x_;
  int64_t first_block_, n_blocks_;
  alignas(64) int8_t q8_[N][kMaxCols + kSuperblock];
  alignas(64) int32_t starts_[N][(kMaxCols / kPair + 1) * kStarts * 16];
};

template <Form kForm, int N>
requires(kForm.pairs != PairOrder::kNone) class MatvecRows<kForm, N> : public PairRows<kForm, N> {
 public:
  using PairRows<kForm, N>::PairRows;
};

}  // namespace flashmoe::avx512
