// Tiles of 16 weight rows times many rows of int8 activations, AVX-512 VNNI: prefill.
//
// Weights are unpacked once into a panel in which a register has 4 bytes of each of 16 rows; activations, which were
// packed once for all tiles, are broadcast four bytes at a time. The sums are those of int8_matvec.h, in its order:
// blocks are laid out by their remainder mod 8 and then by number, so that one sum at a time is live.
#pragma once

#include "kernels/cpu/avx512/block_sums.h"
#include "kernels/cpu/vector/weights_ahead.h"

namespace flashmoe::avx512 {

inline constexpr int kTileRows = 16;  // lanes

// Where blocks of 32 lie in panels: those that sum j takes are together.
struct BlockOrder {
  int64_t n_whole;  // superblocks
  int n_tail;       // blocks after them
  int64_t n_blocks() const { return 8 * n_whole + n_tail; }
  int64_t n_of(int j) const { return n_whole + (j < n_tail ? 1 : 0); }
  int64_t at(int64_t superblock, int j) const { return j * n_whole + (j < n_tail ? j : n_tail) + superblock; }
};
inline BlockOrder block_order(int64_t cols) {
  return {cols / kSuperblock, static_cast<int>(cols % kSuperblock / kActivationBlock)};
}

// What of a form a panel still has: its order and steps are gone, and the offset is in the activations.
constexpr Form panel_form(Form form) { return {form.kind, form.offset == 0 ? 0 : 1, Order::kStraight}; }

// 32 weights of each of 16 rows.
template <Form kForm>
struct PanelBlock {
  alignas(64) uint8_t q[8][64];  // [8 fours][16 rows, 4 values]
  float scale[16];
  float min[kForm.kind == Kind::kPlain || kForm.kind == Kind::kFine ? 0 : 16];
  int32_t fine[kForm.has_fine() ? 2 : 0][16];
  int32_t fine_min[kForm.has_fine_minimum() ? 16 : 0];  // two 16-bit factors
};

// Activations of one block of M rows: q8 [M, 32], then f32 scale [M] and, where the form has them, sum [M], start [M]
// or [2, M] (what the offset takes away) and totals [M] (two 16-bit sums of 16 values).
constexpr int kScaleAt = 32, kRestAt = 36;
constexpr int x_block_bytes(Form form) {  // of one row
  return kRestAt + (form.has_minimum() || form.has_fine_minimum() ? 4 : 0) +
         (form.offset == 0  ? 0
          : form.has_fine() ? 8
                            : 4);
}

inline __m512i broadcast_word(const std::byte* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return _mm512_set1_epi32(word);
}
inline __m512 broadcast_float(const std::byte* p) { return _mm512_castsi512_ps(broadcast_word(p)); }

// Panels, at one block of theirs. R panels of 16 rows are multiplied at once: a broadcast of activations then feeds R
// products. Arrays are [R * M].
template <Form kForm>
struct Panels {
  PanelBlock<kForm>* blocks;  // [n_panels, n_blocks] in the order of BlockOrder
  int64_t n_blocks;

  Panels(std::byte* memory, int64_t cols)
      : blocks(reinterpret_cast<PanelBlock<kForm>*>(memory)), n_blocks(cols / kActivationBlock) {}
  static constexpr int64_t bytes(int n_panels, int64_t cols) {
    return n_panels * (cols / kActivationBlock) * static_cast<int64_t>(sizeof(PanelBlock<kForm>));
  }
  Panels panel(int r) const {
    Panels one = *this;
    one.blocks += r * n_blocks;
    return one;
  }
  const PanelBlock<kForm>& operator[](int r) const { return blocks[r * n_blocks]; }
};

// sums[r * M + m] += dot products of fours [begin, end).
template <Form kForm, int M, int R>
inline void add_fours(const Panels<kForm>& w, const std::byte* x, int begin, int end, __m512i sums[R * M]) {
#pragma GCC unroll 8
  for (int four = begin; four < end; ++four) {
    __m512i weights[R];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      weights[r] = _mm512_load_si512(w[r].q[four]);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const __m512i values = broadcast_word(x + 32 * m + 4 * four);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) sums[r * M + m] = _mm512_dpbusd_epi32(sums[r * M + m], weights[r], values);
    }
  }
}

// The whole-numbered sums of one block.
template <Form kForm, int M, int R>
inline void panel_sums(const Panels<kForm>& w, const std::byte* x, __m512i sums[R * M]) {
  const auto start = [&](int part, __m512i to[R * M]) {
    constexpr int kAt = (kRestAt + (kForm.has_minimum() ? 4 : 0)) * M;
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) {
      to[i] = kForm.offset == 0 ? _mm512_setzero_si512() : broadcast_word(x + kAt + 4 * (part * M + i % M));
    }
  };
  start(0, sums);
  if constexpr (!kForm.has_fine()) {
    add_fours<kForm, M, R>(w, x, 0, 8, sums);
    return;
  } else {
    add_fours<kForm, M, R>(w, x, 0, 4, sums);
    __m512i others[R * M];
    start(1, others);
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) sums[i] = _mm512_mullo_epi32(sums[i], _mm512_load_si512(w[i / M].fine[0]));
    add_fours<kForm, M, R>(w, x, 4, 8, others);
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) {
      sums[i] = _mm512_add_epi32(sums[i], _mm512_mullo_epi32(others[i], _mm512_load_si512(w[i / M].fine[1])));
    }
  }
}

template <Form kForm, int M, int R>
inline void add_block(const Panels<kForm>& w, const std::byte* x, __m512 totals[R * M]) {
  __m512i sums[R * M];
  panel_sums<kForm, M, R>(w, x, sums);
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) {
    const __m512 both = _mm512_mul_ps(_mm512_load_ps(w[i / M].scale), broadcast_float(x + kScaleAt * M + 4 * (i % M)));
    totals[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), both, totals[i]);
  }
  if constexpr (kForm.has_minimum()) {
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) {
      const __m512 x_sum = broadcast_float(x + kRestAt * M + 4 * (i % M));
      totals[i] = _mm512_fnmadd_ps(_mm512_load_ps(w[i / M].min), x_sum, totals[i]);
    }
  }
  if constexpr (kForm.has_fine_minimum()) {
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) {
      const __m512i x_sums = broadcast_word(x + kRestAt * M + 4 * (i % M));
      const __m512i mins = _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_load_si512(w[i / M].fine_min), x_sums);
      const __m512 both = _mm512_mul_ps(_mm512_load_ps(w[i / M].min), broadcast_float(x + kScaleAt * M + 4 * (i % M)));
      totals[i] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), both, totals[i]);
    }
  }
}

// Asks for where y [M, 16 R] is written: its rows lie as far apart as those of the whole result, and are not foreseen
// by the processor (docs/experiments/0044-rows-that-go-no-further.md).
template <int M, int R>
inline void ask_for_results(const float* y, int64_t y_stride) {
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) __builtin_prefetch(y + i % M * y_stride + i / M * kTileRows, 1);
}

// Rows of M activations times R panels; y [M, 16 R] with y_stride, of which only the bits of `rows` are written.
template <Form kForm, int M, int R>
inline void multiply_panels(Panels<kForm> w, const std::byte* x, BlockOrder order, float* y, int64_t y_stride,
                            uint32_t rows, WeightsAhead& to_ask_for) {
  WeightsAhead ahead = to_ask_for;
  __m512 sums[R * M];  // in memory: rows of y, which may be a multiple of 4 KiB apart, are touched once
  ask_for_results<M, R>(y, y_stride);
  for (int j = 0; j < 8; ++j) {
    __m512 totals[R * M];
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) totals[i] = _mm512_setzero_ps();
    for (int64_t left = order.n_of(j); left > 0; --left, ++w.blocks, x += M * x_block_bytes(kForm)) {
      ahead.prefetch();
      add_block<kForm, M, R>(w, x, totals);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R * M; ++i) sums[i] = j == 0 ? totals[i] : _mm512_add_ps(sums[i], totals[i]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * M; ++i) {
    const auto lanes = static_cast<__mmask16>(rows >> i / M * 16);
    _mm512_mask_storeu_ps(y + i % M * y_stride + i / M * 16, lanes, sums[i]);
  }
  to_ask_for = ahead;
}

}  // namespace flashmoe::avx512
