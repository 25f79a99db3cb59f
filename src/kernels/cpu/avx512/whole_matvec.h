// 16 weight rows times a few rows of int8 activations whose sums stay whole over 256 values (whole_sums.h), AVX-512
// VNNI: decode. Bytes are unpacked in registers and multiplied at once, as in interleaved_matvec.h.
#pragma once

#include "kernels/cpu/avx512/block_row.h"
#include "kernels/cpu/avx512/interleaved.h"
#include "kernels/cpu/avx512/whole_sums.h"

namespace flashmoe::avx512 {

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

// The same of rows that lie as in the file: a row's sums are those of all lanes, which are added for 16 rows together.
template <int M>
inline void add_superblock(const RowColumns<BlockQ4_K>& w, const WholeRows<M>& x, __m512 totals[M]) {
  alignas(64) int32_t sums[M][kTileRows][16], mins[M][kTileRows][kPairs];
  __m512i even[M][2], odd[M][2];  // blocks of the first half of the values, of the second
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int8_t* q8 = x.q8[m] + 128 * half;
      even[m][half] = pair(load32(q8), load32(q8 + 64));
      odd[m][half] = pair(load32(q8 + 32), load32(q8 + 96));
    }
  }
  const __m512i second_pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  for (int r = 0; r < kTileRows; ++r) {
    const BlockQ4_K& block = *w.rows[r];
    const SixBitBytes bytes(block.scales);
    const __m128i scale = _mm_cvtepu8_epi16(eight_bytes(bytes.scales)),
                  min = _mm_cvtepu8_epi16(eight_bytes(bytes.mins));
    const __m512i both[2] = {_mm512_loadu_si512(block.q), _mm512_loadu_si512(block.q + 64)};
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const __m512i factors = _mm512_castsi128_si512(_mm_mullo_epi16(scale, load16(x.words[m] + kScalesAt)));
      __m512i total = _mm512_setzero_si512();
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m512i low = _mm512_and_si512(both[half], every(0x0f)), high = _mm512_and_si512(both[half], every(0xf0));
        const __m512i of_odd = _mm512_dpbusd_epi32(_mm512_set1_epi32(kOddStart), high, odd[m][half]);
        const __m512i pairs = as_pairs(_mm512_dpbusd_epi32(above(of_odd), low, even[m][half]));
        const __m512i at = _mm512_add_epi32(second_pair, _mm512_set1_epi32(2 * half));
        total = _mm512_dpwssd_epi32(total, pairs, _mm512_permutexvar_epi32(at, factors));
      }
      _mm512_store_si512(sums[m][r], total);
      const __m128i of_mins = _mm_dpwssd_epi32(_mm_setzero_si128(), min, load16(x.words[m] + kSumsAt));
      _mm_store_si128(reinterpret_cast<__m128i*>(mins[m][r]), of_mins);
    }
  }
  const WholeFactors factors = {
      _mm512_cvtph_ps(w.halves(offsetof(BlockQ4_K, d))),
      _mm512_mul_ps(_mm512_cvtph_ps(w.halves(offsetof(BlockQ4_K, dmin))), _mm512_set1_ps(kSumStep))};
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    __m512i of_lane[16], of_pair[kPairs];
    transpose_16([&](int r) { return _mm512_load_si512(sums[m][r]); }, of_lane);
    transpose_4([&](int r) { return mins[m][r]; }, of_pair);
    for (int k = 1; k < 16; ++k) of_lane[0] = _mm512_add_epi32(of_lane[0], of_lane[k]);
    for (int k = 1; k < kPairs; ++k) of_pair[0] = _mm512_add_epi32(of_pair[0], of_pair[k]);
    totals[m] = add_superblock(totals[m], of_lane[0], of_pair[0], factors, _mm512_castsi512_ps(x.word(m, kUnitAt)));
  }
}

}  // namespace flashmoe::avx512
