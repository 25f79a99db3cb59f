// 16 weight rows times a few rows of int8 activations whose sums stay whole over 256 values (whole_sums.h), AVX-512
// VNNI: decode. Bytes are unpacked in registers and multiplied at once, as in interleaved_matvec.h.
#pragma once

#include "kernels/cpu/avx512/block_row.h"
#include "kernels/cpu/avx512/interleaved.h"
#include "kernels/cpu/avx512/whole_sums.h"

namespace flashmoe::avx512 {

// 256 values of each of 16 rows that lie as in the file, as they would lie interleaved.
template <typename Block>
struct RearrangedColumns : InterleavedColumns<Block> {
  static_assert(WordsAndHalves<Block>::kHalves == 0);
  alignas(64) std::byte words_of_rows[kTileRows * sizeof(Block)];

  explicit RearrangedColumns(const RowColumns<Block>& rows)
      : InterleavedColumns<Block>{{words_of_rows, words_of_rows}} {
    store_interleaved(rows, {words_of_rows, words_of_rows});
  }
  RearrangedColumns(const RearrangedColumns&) = delete;
  RearrangedColumns& operator=(const RearrangedColumns&) = delete;
};

// Rows as stored as a source of weights for what multiplies interleaved ones.
template <typename Block>
class RearrangedRows : public BlockRow<Block> {
 public:
  using BlockRow<Block>::BlockRow;
  static constexpr bool kLiesInOrder = false;

  static RearrangedColumns<Block> columns_of(const MatrixView& w, int64_t first, int n_rows, int64_t s) {
    return RearrangedColumns<Block>(BlockRow<Block>::columns_of(w, first, n_rows, s));
  }
};

// 256 activations of M rows, and the words that go with them.
template <int M>
struct WholeRows {
  const int8_t* q8[M];
  const int32_t* words[M];

  __m512i four(int m, int block, int k) const {
    return broadcast_word(reinterpret_cast<const std::byte*>(q8[m]) + 32 * block + 4 * k);
  }
  __m512i word(int m, int k) const { return _mm512_set1_epi32(words[m][k]); }
};

// The sums of blocks 2 p and 2 p + 1, side by side.
template <typename Columns, int M>
inline void pair_sums(const Columns& w, const WholeRows<M>& x, int p, __m512i sums[M]) {
  __m512i even[M], odd[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) even[m] = _mm512_setzero_si512(), odd[m] = _mm512_set1_epi32(kOddStart);
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    const __m512i both = w.word(offsetof(BlockQ4_K, q) + static_cast<size_t>(32 * p + 4 * k));
    const __m512i low = _mm512_and_si512(both, every(0x0f)), high = _mm512_and_si512(both, every(0xf0));
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      even[m] = _mm512_dpbusd_epi32(even[m], low, x.four(m, 2 * p, k));
      odd[m] = _mm512_dpbusd_epi32(odd[m], high, x.four(m, 2 * p + 1, k));
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) sums[m] = _mm512_add_epi32(above(odd[m]), even[m]);
}

// totals [M] += 256 columns of 16 weight rows times M rows of activations.
template <ColumnsOf<BlockQ4_K> Columns, int M>
inline void add_superblock(const Columns& w, const WholeRows<M>& x, __m512 totals[M]) {
  const SixBitScales scales(w);
  __m512i sums[M], mins[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) sums[m] = mins[m] = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int p = 0; p < kPairs; ++p) {
    __m512i of_pair[M];
    pair_sums(w, x, p, of_pair);
    const __m512i scale = pair_of_bytes(scales.scales[p / 2], p), min = pair_of_bytes(scales.mins[p / 2], p);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      sums[m] = add_pair(sums[m], as_pairs(of_pair[m]), scale, x.word(m, kScalesAt + p));
      mins[m] = _mm512_dpwssd_epi32(mins[m], min, x.word(m, kSumsAt + p));
    }
  }
  const WholeFactors factors = whole_factors(scales);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    totals[m] = add_superblock(totals[m], sums[m], mins[m], factors, _mm512_castsi512_ps(x.word(m, kUnitAt)));
  }
}

}  // namespace flashmoe::avx512
