// Few rows of int8 activations times weights as they are stored, AVX2: the values of 8 weight rows are unpacked one row
// after another, and their sums meet in the lanes of one register.
//
// For each block of 32 columns, in order, and each weight row, S0 and S1 being the whole-numbered sums of products of
// its first and last 16 values:
//   total = fma(f0 * S0 + f1 * S1, scale * x_scale, total)
// with whole-numbered factors; below 2^24, what is in front is exact in f32. No other float operation rounds: whoever
// multiplies otherwise but adds up the blocks like this gets the same bits.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "kernels/kernels.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int kStoredRows = 8;   // multiplied together
inline constexpr int kMostStoredM = 4;  // rows of activations, whose sums fit in the registers

// What the rows of a format are unpacked to.
struct StoredForm {
  int largest = 0;          // absolute value of a byte
  bool has_halves = false;  // 16 values have a factor, else 32

  // Whether sums of n products fit 16 bits. VNNI starts with 32.
  constexpr bool fits(int n) const { return !kHasVnni && n * largest * 127 <= 32767; }
};

// 256 columns of 8 rows, unpacked as far as all rows of activations share it (unpack_iq.h):
//   static constexpr StoredForm kForm;
//   explicit StoredRows(const Block* const (&rows)[kStoredRows]);
//   SignedBytes bytes(int row, int block) const;
//   __m256 scale() const;
//   __m256i factor(int half, int block) const;  // of 8 rows, whole numbers
template <typename Block>
class StoredRows;

// Sums of 2 << level products, of 1 << level rows: lanes of 16 bits if they fit, else of 32. Each half of the register
// has those of 16 columns.
template <StoredForm kForm, int kLevel>
inline __m256i merged(__m256i a, __m256i b) {
  static_assert(kLevel == 1 || kLevel == 2);
  constexpr bool kWere16 = kForm.fits(1 << kLevel), kAre16 = kForm.fits(2 << kLevel);
  if constexpr (kWere16 && !kAre16) {
    const __m256i ones = _mm256_set1_epi16(1);
    a = _mm256_madd_epi16(a, ones);
    b = _mm256_madd_epi16(b, ones);
  }
  const __m256i low = kLevel == 1 ? _mm256_unpacklo_epi32(a, b) : _mm256_unpacklo_epi64(a, b);
  const __m256i high = kLevel == 1 ? _mm256_unpackhi_epi32(a, b) : _mm256_unpackhi_epi64(a, b);
  return kAre16 ? _mm256_add_epi16(low, high) : _mm256_add_epi32(low, high);
}

// Block b of M rows of activations times weight rows [kFirst, kFirst + kRows): sums of one, two or four rows in turn.
template <typename Block, int kFirst, int kRows, int M>
[[gnu::always_inline]] inline void add_up(const StoredRows<Block>& w, int b, const __m256i (&x)[M],
                                          __m256i (&sums)[M]) {
  constexpr StoredForm kForm = StoredRows<Block>::kForm;
  if constexpr (kRows == 1) {
    const SignedBytes q = w.bytes(kFirst, b);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const __m256i values = _mm256_sign_epi8(x[m], q.sign);
      sums[m] =
          kHasVnni ? add_fours(_mm256_setzero_si256(), q.magnitude, values) : _mm256_maddubs_epi16(q.magnitude, values);
    }
  } else {
    __m256i low[M], high[M];
    add_up<Block, kFirst, kRows / 2, M>(w, b, x, low);
    add_up<Block, kFirst + kRows / 2, kRows / 2, M>(w, b, x, high);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) sums[m] = merged<kForm, kRows / 2>(low[m], high[m]);
  }
}

// The sums of 8 rows and each half of a block, out of those of four rows each, times their factors.
template <typename Block>
[[gnu::always_inline]] inline __m256 with_factors(const StoredRows<Block>& w, int b, __m256i low, __m256i high) {
  constexpr StoredForm kForm = StoredRows<Block>::kForm;
  if constexpr (kForm.fits(8)) {
    low = _mm256_madd_epi16(low, _mm256_set1_epi16(1));
    high = _mm256_madd_epi16(high, _mm256_set1_epi16(1));
  }
  const auto factor = [&](int half) { return _mm256_cvtepi32_ps(w.factor(half, b)); };
  const __m256i first = _mm256_permute2x128_si256(low, high, 0x20), last = _mm256_permute2x128_si256(low, high, 0x31);
  if constexpr (!kForm.has_halves) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(first, last)), factor(0));
  } else {
    const __m256 both = _mm256_mul_ps(_mm256_cvtepi32_ps(first), factor(0));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(last), factor(1), both);
  }
}

// totals += 256 columns of 8 weight rows times M rows of activations, which begin at x and x_scale.
template <typename Block, int M>
inline void add_superblock(const StoredRows<Block>& w, const int8_t* x, const float* x_scale, int64_t cols,
                           __m256 (&totals)[M]) {
  const __m256 scale = w.scale();
#pragma GCC unroll 1
  for (int b = 0; b < 8; ++b) {
    __m256i values[M], sums[2][M];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) values[m] = load32(x + m * cols + 32 * b);
    add_up<Block, 0, 4, M>(w, b, values, sums[0]);
    add_up<Block, 4, 4, M>(w, b, values, sums[1]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const __m256 both = _mm256_mul_ps(scale, _mm256_broadcast_ss(x_scale + m * (cols / kActivationBlock) + b));
      totals[m] = _mm256_fmadd_ps(with_factors(w, b, sums[0][m], sums[1][m]), both, totals[m]);
    }
  }
}

// Of the next 8 rows: processors alone fetch too little ahead of so many.
template <typename Block>
inline void ask_for(const Block* block) {
  __builtin_prefetch(block);
  __builtin_prefetch(reinterpret_cast<const std::byte*>(block) + 64);
}

// n_rows <= 8 weight rows times activation rows [first, first + M).
template <typename Block, int M>
inline void multiply_stored(const std::byte* w, int64_t n_rows, const Activations& x, int64_t first, float* y,
                            int64_t y_stride) {
  const int64_t n_blocks = x.cols / Block::kValues;
  const Block* rows[kStoredRows];
  for (int64_t r = 0; r < kStoredRows; ++r) {
    rows[r] = reinterpret_cast<const Block*>(w) + (r < n_rows ? r : n_rows - 1) * n_blocks;
  }
  const int8_t* q8 = x.q8 + first * x.cols;
  const float* scale = x.scale + first * (x.cols / kActivationBlock);
  __m256 totals[M];
  for (int m = 0; m < M; ++m) totals[m] = _mm256_setzero_ps();
  for (int64_t s = 0; s < n_blocks; ++s) {
    for (const Block* row : rows) ask_for(row + kStoredRows * n_blocks);
    const StoredRows<Block> unpacked(rows);
    for (const Block*& row : rows) ++row;
    add_superblock<Block, M>(unpacked, q8 + s * Block::kValues, scale + s * 8, x.cols, totals);
  }
  for (int m = 0; m < M; ++m) {
    float* to = y + m * y_stride;
    n_rows < kStoredRows ? store(to, {totals[m]}, First{n_rows}) : store(to, {totals[m]});
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
