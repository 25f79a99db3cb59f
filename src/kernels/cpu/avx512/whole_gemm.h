// Tiles of 16 weight rows times many rows of int8 activations whose sums stay whole over 256 values (whole_sums.h),
// AVX-512 VNNI: as int8_gemm.h, superblock after superblock, and with the bits of whole_matvec.h.
#pragma once

#include "kernels/cpu/avx512/int8_gemm.h"
#include "kernels/cpu/avx512/whole_sums.h"

namespace flashmoe::avx512 {

// 256 weights of each of 16 rows. Blocks 2 p and 2 p + 1 are in the low and the high nibbles of the same bytes.
struct WholePanel {
  alignas(64) uint8_t q[kPairs][8][64];  // [pair][8 fours][16 rows, 4 bytes]
  int32_t scales[kPairs][16], mins[kPairs][16];
  float d[16], dmin[16];
};

template <ColumnsOf<BlockQ4_K> Columns>
inline void unpack_columns(const Columns& rows, WholePanel* to) {
  const SixBitScales scales(rows);
  const WholeFactors factors = whole_factors(scales);
  _mm512_store_ps(to->d, factors.d);
  _mm512_store_ps(to->dmin, factors.dmin);
#pragma GCC unroll 4
  for (int p = 0; p < kPairs; ++p) {
    _mm512_store_si512(to->scales[p], pair_of_bytes(scales.scales[p / 2], p));
    _mm512_store_si512(to->mins[p], pair_of_bytes(scales.mins[p / 2], p));
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i words[16];
    rows.words(offsetof(BlockQ4_K, q) + static_cast<size_t>(64 * half), words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) _mm512_store_si512(to->q[2 * half + k / 8][k % 8], words[k]);
  }
}

// 256 activations of each of M rows: q8 [8 blocks, M, 32], then words [kWholeWords, M].
inline constexpr int kWordsAt = kSuperblock, kWholeBytes = kSuperblock + 4 * kWholeWords;  // of one row

inline constexpr int kWholeRows = 6;  // that are multiplied at once, at most

// Superblock s of n_rows <= kWholeRows rows.
struct SuperblockRows {
  const Activations& x;
  int64_t first, s;
  int n_rows;
  int64_t superblock(int m) const { return (first + m) * (x.cols / kSuperblock) + s; }
  // 8 values for each of rows m and m + 1; of the last row twice where there is no other.
  __m512 of_two(const float* values, int m) const {
    const auto row = [&](int i) { return _mm256_loadu_ps(values + 8 * superblock(i < n_rows ? i : n_rows - 1)); };
    return _mm512_insertf32x8(_mm512_castps256_ps512(row(m)), row(m + 1), 1);
  }
};

// whole_words of all rows, one instruction for two or for all.
inline void pack_words(const SuperblockRows& rows, std::byte* to) {
  __m512i scales[kWholeRows / 2], sums[kWholeRows / 2];
  __m512 units[kWholeRows / 2];
#pragma GCC unroll 3
  for (int i = 0; i < kWholeRows / 2; ++i) {
    const WholeWords words = whole_words(rows.of_two(rows.x.scale, 2 * i), rows.of_two(rows.x.sum, 2 * i));
    scales[i] = _mm512_castsi256_si512(words.scales), sums[i] = _mm512_castsi256_si512(words.sums);
    units[i] = words.unit;
  }
  const auto lanes = static_cast<__mmask8>((1 << rows.n_rows) - 1);
  const auto put = [&](int k, __m512i words) {
    _mm256_mask_storeu_epi32(to + 4 * k * rows.n_rows, lanes, _mm512_castsi512_si256(words));
  };
  const __m512i of_four = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  const auto put_pairs = [&](int at, const __m512i of_two[kWholeRows / 2]) {
    const __m512i first = _mm512_inserti64x4(of_two[0], _mm512_castsi512_si256(of_two[1]), 1);
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      put(at + p, _mm512_permutex2var_epi32(first, _mm512_add_epi32(of_four, _mm512_set1_epi32(p)), of_two[2]));
    }
  };
  put_pairs(kScalesAt, scales);
  put_pairs(kSumsAt, sums);
  const __m512 of_first =
      _mm512_permutex2var_ps(units[0], _mm512_setr_epi32(0, 8, 16, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), units[1]);
  const __m512 of_all =
      _mm512_permutex2var_ps(of_first, _mm512_setr_epi32(0, 1, 2, 3, 16, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), units[2]);
  put(kUnitAt, _mm512_castps_si512(of_all));
}

inline void pack_superblock(const SuperblockRows& rows, std::byte* to) {
  for (int m = 0; m < rows.n_rows; ++m) {
    const int8_t* q8 = rows.x.q8 + kSuperblock * rows.superblock(m);
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32 * (b * rows.n_rows + m)), load32(q8 + 32 * b));
    }
  }
  pack_words(rows, to + kWordsAt * rows.n_rows);
}

// Panels of the same superblock: R of them are multiplied at once. Arrays are [R * M].
struct WholePanels {
  const WholePanel* first;  // [n_panels, n_superblocks]
  int64_t n_superblocks;
  const WholePanel& operator[](int r) const { return first[r * n_superblocks]; }
};

// The sums of blocks 2 p and 2 p + 1, side by side; `x` are their activations.
template <int M, int R>
inline void pair_sums(const WholePanels& w, int p, const std::byte* x, __m512i sums[R * M]) {
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) sums[i] = _mm512_set1_epi32(kOddStart);
#pragma GCC unroll 2
  for (int odd = 1; odd >= 0; --odd) {
    const __m512i nibble = every(odd == 1 ? 0xf0 : 0x0f);
#pragma GCC unroll 8
    for (int four = 0; four < 8; ++four) {
      __m512i weights[R];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) weights[r] = _mm512_and_si512(_mm512_load_si512(w[r].q[p][four]), nibble);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const __m512i values = broadcast_word(x + 32 * (odd * M + m) + 4 * four);
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) sums[r * M + m] = _mm512_dpbusd_epi32(sums[r * M + m], weights[r], values);
      }
    }
    if (odd == 0) break;
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) sums[i] = above(sums[i]);
  }
}

// totals += 256 columns.
template <int M, int R>
inline void add_superblock(const WholePanels& w, const std::byte* x, WeightsAhead& ahead, __m512 totals[R * M]) {
  const std::byte* words = x + kWordsAt * M;
  const auto word = [&](int k, int i) { return broadcast_word(words + 4 * (k * M + i % M)); };
  __m512i sums[R * M];
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) sums[i] = _mm512_setzero_si512();
  for (int p = 0; p < kPairs; ++p) {
    ahead.prefetch();
    __m512i of_pair[R * M];
    pair_sums<M, R>(w, p, x + 64 * M * p, of_pair);
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) {
      sums[i] = add_pair(sums[i], as_pairs(of_pair[i]), _mm512_load_si512(w[i / M].scales[p]), word(kScalesAt + p, i));
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) {
    __m512i mins = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
      mins = _mm512_dpwssd_epi32(mins, _mm512_load_si512(w[i / M].mins[p]), word(kSumsAt + p, i));
    }
    const WholeFactors factors = {_mm512_load_ps(w[i / M].d), _mm512_load_ps(w[i / M].dmin)};
    totals[i] = add_superblock(totals[i], sums[i], mins, factors, _mm512_castsi512_ps(word(kUnitAt, i)));
  }
}

// Rows of M activations times R panels, as multiply_panels.
template <int M, int R>
inline void multiply_whole_panels(WholePanels w, const std::byte* x, float* y, int64_t y_stride, uint32_t rows,
                                  WeightsAhead& to_ask_for) {
  WeightsAhead ahead = to_ask_for;
  __m512 totals[R * M];
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) totals[i] = _mm512_setzero_ps();
  ask_for_results<M, R>(y, y_stride);
  for (int64_t s = 0; s < w.n_superblocks; ++s, x += M * kWholeBytes) {
    asm("" : "+m"(totals));  // in memory: the registers are full of sums
    add_superblock<M, R>({w.first + s, w.n_superblocks}, x, ahead, totals);
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) {
    const auto lanes = static_cast<__mmask16>(rows >> i / M * 16);
    _mm512_mask_storeu_ps(y + i % M * y_stride + i / M * 16, lanes, totals[i]);
  }
  to_ask_for = ahead;
}

}  // namespace flashmoe::avx512
