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

  // Weight rows [row, row + n), at most kTileRows of them, into y[i * y_stride + r].
  template <typename Source>
  void multiply(const MatrixView& w, int64_t row, int n, float* y, int64_t y_stride) const {
    alignas(64) float sums[N][kTileRows][8] = {};
    for (int r = 0; r < n; ++r) add_row(Source(w, row + r), r, sums);
    const auto there = static_cast<__mmask16>((1 << n) - 1);
    for (int i = 0; i < N; ++i) _mm512_mask_storeu_ps(y + i * y_stride, there, add_in_order(sums[i]));
  }

 private:
  // The eight sums of one weight row, sums[i][r], with each row of activations.
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

}  // namespace flashmoe::avx512
