// A tile of 16 weight rows times many rows of int8 activations, AVX-512 VNNI: prefill.
//
// Weights are unpacked once into a panel in which a register has 4 bytes of each of 16 rows; activations, which were
// packed once for all tiles, are broadcast four bytes at a time. The sums are those of int8_matvec.h, in its order:
// blocks are laid out by their remainder mod 8 and then by number, so that one sum at a time is live.
#pragma once

#include "kernels/cpu/avx512/block_sums.h"

namespace flashmoe::avx512 {

inline constexpr int kTileRows = 16;  // lanes
static_assert(kTileRows == kMatmulTileRows);

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
constexpr Form panel_form(Form form) { return {form.kind, form.offset == 0 ? 0 : 1}; }

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

// sums[m] += dot products of fours [begin, end).
template <int M>
inline void add_fours(const uint8_t (&q)[8][64], const std::byte* x, int begin, int end, __m512i sums[M]) {
#pragma GCC unroll 8
  for (int four = begin; four < end; ++four) {
    const __m512i w = _mm512_load_si512(q[four]);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) sums[m] = _mm512_dpbusd_epi32(sums[m], w, broadcast_word(x + 32 * m + 4 * four));
  }
}

// The whole-numbered sums of one block.
template <Form kForm, int M>
inline void panel_sums(const PanelBlock<kForm>& w, const std::byte* x, __m512i sums[M]) {
  const auto start = [&](int part, __m512i to[M]) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      to[m] = kForm.offset == 0
                  ? _mm512_setzero_si512()
                  : broadcast_word(x + (kRestAt + (kForm.has_minimum() ? 4 : 0)) * M + 4 * (part * M + m));
    }
  };
  start(0, sums);
  if constexpr (!kForm.has_fine()) {
    add_fours<M>(w.q, x, 0, 8, sums);
    return;
  } else {
    add_fours<M>(w.q, x, 0, 4, sums);
    const __m512i first = _mm512_load_si512(w.fine[0]), second = _mm512_load_si512(w.fine[1]);
    __m512i others[M];
    start(1, others);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) sums[m] = _mm512_mullo_epi32(sums[m], first);
    add_fours<M>(w.q, x, 4, 8, others);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) sums[m] = _mm512_add_epi32(sums[m], _mm512_mullo_epi32(others[m], second));
  }
}

template <Form kForm, int M>
inline void add_block(const PanelBlock<kForm>& w, const std::byte* x, __m512 totals[M]) {
  __m512i sums[M];
  panel_sums<kForm, M>(w, x, sums);
  const __m512 scale = _mm512_load_ps(w.scale);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    const __m512 both = _mm512_mul_ps(scale, broadcast_float(x + kScaleAt * M + 4 * m));
    totals[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[m]), both, totals[m]);
  }
  if constexpr (kForm.has_minimum()) {
    const __m512 min = _mm512_load_ps(w.min);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      totals[m] = _mm512_fnmadd_ps(min, broadcast_float(x + kRestAt * M + 4 * m), totals[m]);
    }
  }
  if constexpr (kForm.has_fine_minimum()) {
    const __m512 min = _mm512_load_ps(w.min);
    const __m512i factors = _mm512_load_si512(w.fine_min);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const __m512i mins =
          _mm512_dpwssd_epi32(_mm512_setzero_si512(), factors, broadcast_word(x + kRestAt * M + 4 * m));
      const __m512 both = _mm512_mul_ps(min, broadcast_float(x + kScaleAt * M + 4 * m));
      totals[m] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), both, totals[m]);
    }
  }
}

// Rows of M activations times a panel; y [M, 16] with y_stride, the lanes of `rows` only.
template <Form kForm, int M>
inline void multiply_panel(const PanelBlock<kForm>* w, const std::byte* x, BlockOrder order, float* y, int64_t y_stride,
                           __mmask16 rows) {
  for (int j = 0; j < 8; ++j) {
    __m512 totals[M];
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) totals[m] = _mm512_setzero_ps();
    for (int64_t left = order.n_of(j); left > 0; --left, ++w, x += M * x_block_bytes(kForm)) {
      add_block<kForm, M>(*w, x, totals);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      float* to = y + m * y_stride;
      if (j > 0) totals[m] = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, to), totals[m]);
      _mm512_mask_storeu_ps(to, rows, totals[m]);
    }
  }
}

}  // namespace flashmoe::avx512
