// 16 interleaved weight rows times a few rows of int8 activations, AVX-512 VNNI: decode. Bytes are unpacked in
// registers and multiplied at once; all eight sums of a row are live. Weights are read from the first byte to the last.
#pragma once

#include "base/cpu_features.h"
#include "kernels/cpu/avx512/interleaved_values.h"
#include "kernels/cpu/avx512/whole_matvec.h"

namespace flashmoe::avx512 {

inline constexpr int kMatvecRows = 4;  // rows of activations that are multiplied at once

// Whether products of one row or two ask for weights a line at a time. AMD's Zen 4 sees by itself what will be read and
// is slowed down by requests, but for the few bits of MLX with scales in other places; Intel's need them
// (docs/experiments/0043-who-asks-for-weights.md).
template <typename Source>
inline bool asks_for_lines() {
  constexpr bool kFewBitsApart = HasScalesApart<Source> && Source::row_bytes(kSuperblock) <= kSuperblock / 2;
  return Source::kLiesInOrder && (kFewBitsApart || !cpu_features().amd);
}

// What products of each block, or half of one, start from.
template <Form kForm>
inline constexpr int kStarts = !needs_sums(kForm)          ? 0
                               : kForm.kind == Kind::kFine ? 2
                                                           : 1;  // of a block
// What is prepared of activation rows [first, first + n): these, or whole_words, in words for a superblock.
template <Form kForm>
inline constexpr int kPreparedWords = kForm.is_whole() ? kWholeWords : 8 * kStarts<kForm>;
template <Form kForm>
requires(kForm.is_whole()) inline void prepare(const Activations& x, int64_t first, int64_t n, int32_t* to) {
  const int64_t row_superblocks = x.cols / kSuperblock;
  for (int64_t s = first * row_superblocks; s < (first + n) * row_superblocks; ++s, to += kWholeWords) {
    whole_words(x.scale + 8 * s, x.sum + 8 * s, to);
  }
}
template <Form kForm>
inline void prepare(const Activations& x, int64_t first, int64_t n, int32_t* to) {
  const int8_t* q8 = x.q8 + first * x.cols;
  for (int64_t s = 0; s < n * x.cols / kSuperblock; ++s, q8 += kSuperblock) {
    alignas(64) int8_t ordered[kSuperblock];
    alignas(64) int32_t sums[16];
    copy_whole<kForm>(q8, ordered);
    store_sums<kForm>(ordered, sums);
    for (int b = 0; b < 8; ++b) {
      if constexpr (kForm.kind == Kind::kFine) {
        *to++ = start_of<kForm>(sums, 2 * b);
        *to++ = start_of<kForm>(sums, 2 * b + 1);
      } else {
        *to++ = kForm.has_fine_minimum() ? sums[b] : -sums[b];
      }
    }
  }
}

// M rows of activations, from `first` on; `starts` are those of the same rows.
template <Form kForm, int M>
class FewRows {
 public:
  FewRows(const Activations& x, int64_t first, const int32_t* starts) {
    const int64_t n_blocks = x.cols / kActivationBlock;
    for (int m = 0; m < M; ++m) {
      const int64_t block = (first + m) * n_blocks;
      q8_[m] = reinterpret_cast<const std::byte*>(x.q8 + block * kActivationBlock);
      scale_[m] = x.scale + block;
      sum_[m] = x.sum + block;
      starts_[m] = starts + m * n_blocks * kStarts<kForm>;
    }
  }
  __m512i four(int m, int64_t block, int k) const { return broadcast_word(q8_[m] + 32 * block + 4 * k); }
  __m512 scale(int m, int64_t block) const { return _mm512_set1_ps(scale_[m][block]); }
  __m512 sum(int m, int64_t block) const { return _mm512_set1_ps(sum_[m][block]); }
  // What the whole-numbered sum of a block, or of a half of it, starts from.
  __m512i start(int m, int64_t block, int part) const {
    if constexpr (kForm.offset == 0) return _mm512_setzero_si512();
    return _mm512_set1_epi32(starts_[m][block * kStarts<kForm> + part]);
  }
  // Two 16-bit sums of 16 values.
  __m512i pair_of_sums(int m, int64_t block) const { return _mm512_set1_epi32(starts_[m][block]); }

 private:
  const std::byte* q8_[M];
  const float *scale_[M], *sum_[M];
  const int32_t* starts_[M];
};

// sums [kTogether, M]: the whole-numbered products of the blocks of one step, the first of which is `first` in x.
template <typename Weights, Form kForm, int M>
inline void step_sums(const Weights& w, const FewRows<kForm, M>& x, int step, int64_t first, __m512i sums[][M]) {
  constexpr int kTogether = Weights::kTogether, kParts = kForm.has_fine() ? 2 : 1;
  constexpr int kFoursEach = 8 / kParts;
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part) {
    __m512i dots[kTogether][M];
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) dots[i][m] = x.start(m, first + w.block(step, i), part);
    }
#pragma GCC unroll 8
    for (int four = 0; four < kFoursEach; ++four) {
      const int k = part * kFoursEach + four;
      __m512i q[kTogether];
      w.fours(step, k, q);
#pragma GCC unroll 4
      for (int i = 0; i < kTogether; ++i) {
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          dots[i][m] = _mm512_dpbusd_epi32(dots[i][m], q[i], x.four(m, first + w.block(step, i), k));
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        if constexpr (kForm.has_fine()) dots[i][m] = _mm512_mullo_epi32(dots[i][m], w.fine(w.block(step, i), part));
        sums[i][m] = part == 0 ? dots[i][m] : _mm512_add_epi32(sums[i][m], dots[i][m]);
      }
    }
  }
}

// totals [8, M] += 256 columns of 16 weight rows times M rows of activations, whose blocks are from `first` on.
template <typename Weights, Form kForm, int M>
inline void add_values(const Weights& w, const FewRows<kForm, M>& x, int64_t first, __m512 totals[8][M]) {
  constexpr int kTogether = Weights::kTogether;
#pragma GCC unroll 8
  for (int step = 0; step < 8 / kTogether; ++step) {
    __m512i sums[kTogether][M];
    step_sums<Weights, kForm, M>(w, x, step, first, sums);
#pragma GCC unroll 4
    for (int i = 0; i < kTogether; ++i) {
      const int b = w.block(step, i);
      const __m512 scale = w.scale(b);
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        __m512& total = totals[b][m];
        const __m512 x_scale = x.scale(m, first + b);
        total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][m]), _mm512_mul_ps(scale, x_scale), total);
        if constexpr (kForm.has_minimum()) total = _mm512_fnmadd_ps(w.min(b), x.sum(m, first + b), total);
        if constexpr (kForm.has_fine_minimum()) {
          const __m512i mins = _mm512_dpwssd_epi32(_mm512_setzero_si512(), w.fine_min(b), x.pair_of_sums(m, first + b));
          total = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), _mm512_mul_ps(w.min(b), x_scale), total);
        }
      }
    }
  }
}

// One call's products of up to 16 weight rows with a few rows of activations.
struct InterleavedTile {
  const MatrixView& w;
  int64_t row;  // the first of them
  int n_rows;
  const Activations& x;
  float* y;
  int64_t y_stride;
  __mmask16 there() const { return static_cast<__mmask16>((1 << n_rows) - 1); }
};

// Superblock s.
template <typename Source, bool kAsks>
inline auto columns_for(const InterleavedTile& tile, int64_t s) {
  if constexpr (Source::kLiesInOrder) {
    return Source::template columns_of<kAsks>(tile.w, tile.row, tile.n_rows, s);
  } else {
    return Source::columns_of(tile.w, tile.row, tile.n_rows, s);
  }
}

// With activation rows [first, first + M), of which `starts` are prepared.
template <typename Source, int M, bool kAsks = false>
requires(!Source::kForm.is_whole()) inline void multiply_interleaved(const InterleavedTile& tile, int64_t first,
                                                                     const int32_t* starts, WeightsAhead& to_ask_for) {
  const FewRows<Source::kForm, M> rows(tile.x, first, starts);
  WeightsAhead ahead = to_ask_for;
  __m512 totals[8][M];
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) totals[j][m] = _mm512_setzero_ps();
  }
  for (int64_t s = 0; s < tile.w.cols / kSuperblock; ++s) {
    ahead.prefetch();
    const auto columns = columns_for<Source, kAsks>(tile, s);
    using Weights = InterleavedValues<std::remove_const_t<decltype(columns)>>;
    add_values<Weights, Source::kForm, M>(Weights(columns), rows, 8 * s, totals);
  }
  to_ask_for = ahead;
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    __m512 total = totals[0][m];
#pragma GCC unroll 8
    for (int j = 1; j < 8; ++j) total = _mm512_add_ps(total, totals[j][m]);
    _mm512_mask_storeu_ps(tile.y + (first + m) * tile.y_stride + tile.row, tile.there(), total);
  }
}

template <typename Source, int M, bool kAsks = false>
requires(Source::kForm.is_whole()) inline void multiply_interleaved(const InterleavedTile& tile, int64_t first,
                                                                    const int32_t* words, WeightsAhead& to_ask_for) {
  const int64_t n_superblocks = tile.x.cols / kSuperblock;
  WholeRows<M> rows;
  __m512 totals[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    rows.q8[m] = tile.x.q8 + (first + m) * tile.x.cols;
    rows.words[m] = words + m * n_superblocks * kWholeWords;
    totals[m] = _mm512_setzero_ps();
  }
  WeightsAhead ahead = to_ask_for;
  for (int64_t s = 0; s < n_superblocks; ++s) {
    ahead.prefetch();
    add_superblock(columns_for<Source, kAsks>(tile, s), rows, totals);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) rows.q8[m] += kSuperblock, rows.words[m] += kWholeWords;
  }
  to_ask_for = ahead;
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    _mm512_mask_storeu_ps(tile.y + (first + m) * tile.y_stride + tile.row, tile.there(), totals[m]);
  }
}

// Weight rows [row_begin, row_end), the first a multiple of 16, times activation rows [first, first + n). With one or
// two of these weights are asked for a line at a time or not at all; with three or four, two superblocks ahead; with
// more, those of the next tile while this one's are multiplied again. What does not lie in order is always asked for a
// tile ahead.
template <typename Source>
inline void multiply_tiles(const MatrixView& w, const Activations& x, int64_t first, int64_t n, const int32_t* prepared,
                           float* y, int64_t y_stride, int64_t row_begin, int64_t row_end) {
  using Multiply = void (*)(const InterleavedTile&, int64_t, const int32_t*, WeightsAhead&);
  static constexpr Multiply kSilent[] = {multiply_interleaved<Source, 1>, multiply_interleaved<Source, 2>,
                                         multiply_interleaved<Source, 3>, multiply_interleaved<Source, 4>};
  static constexpr Multiply kAsking[] = {multiply_interleaved<Source, 1, Source::kLiesInOrder>,
                                         multiply_interleaved<Source, 2, Source::kLiesInOrder>, kSilent[2], kSilent[3]};
  const auto& multiply = asks_for_lines<Source>() ? kAsking : kSilent;
  const int64_t n_superblocks = w.cols / kSuperblock, n_again = (n - 1) / kMatvecRows * n_superblocks;
  const int64_t words_per_row = n_superblocks * kPreparedWords<Source::kForm>;
  const int64_t ahead = kTileRows * Source::row_bytes(Source::kLiesInOrder ? 2 * kSuperblock : w.cols);
  const auto data = [&](int64_t row) { return Source(w, row < row_end ? row : row_end).data(); };
  for (int64_t row = row_begin; row < row_end; row += kTileRows) {
    const int n_rows = static_cast<int>(row_end - row < kTileRows ? row_end - row : kTileRows);
    const InterleavedTile tile = {w, row, n_rows, x, y, y_stride};
    WeightsAhead first_time(nullptr, nullptr, 1);
    if (n == 3 || n == 4 || !Source::kLiesInOrder)
      first_time = WeightsAhead(data(row) + ahead, data(row + kTileRows) + ahead, n_superblocks);
    WeightsAhead next(data(row + kTileRows), data(row + 2 * kTileRows), n_again > 0 ? n_again : 1);
    for (int64_t i = 0; i < n; i += kMatvecRows) {
      const int64_t here = n - i < kMatvecRows ? n - i : kMatvecRows;
      multiply[here - 1](tile, first + i, prepared + i * words_per_row, i == 0 ? first_time : next);
    }
  }
}

// All rows of activations.
template <typename Source>
inline void tiles_matvec(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                         int64_t row_end) {
  constexpr Form kForm = Source::kForm;
  constexpr int64_t kRoom = kMatvecRows * kMaxCols / kSuperblock * kPreparedWords<kForm>;
  int32_t prepared[kRoom == 0 ? 1 : kRoom];
  const int64_t words_per_row = x.cols / kSuperblock * kPreparedWords<kForm>;
  const int64_t most = kRoom == 0 ? x.n : kRoom / words_per_row;  // rows for which there is room
  for (int64_t first = 0; first < x.n; first += most) {
    const int64_t n = x.n - first < most ? x.n - first : most;
    if constexpr (kRoom > 0) prepare<kForm>(x, first, n, prepared);
    multiply_tiles<Source>(w, x, first, n, prepared, y, y_stride, row_begin, row_end);
  }
}

}  // namespace flashmoe::avx512
