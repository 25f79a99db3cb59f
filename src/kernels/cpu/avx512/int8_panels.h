// The panels of int8_gemm.h are made here: weights unpacked and transposed, activations packed. AVX-512.
#pragma once

#include "kernels/cpu/avx512/int8_gemm.h"
#include "memory/view.h"

namespace flashmoe::avx512 {

// 16 rows of 16 words, `stride` bytes apart, to columns.
inline void transpose(const std::byte* from, int stride, __m512i to[16]) {
  __m512i a[16], b[16];
  for (int r = 0; r < 16; r += 2) {
    const __m512i even = _mm512_load_si512(from + r * stride), odd = _mm512_load_si512(from + (r + 1) * stride);
    a[r] = _mm512_unpacklo_epi32(even, odd);
    a[r + 1] = _mm512_unpackhi_epi32(even, odd);
  }
  for (int r = 0; r < 16; r += 4) {  // b[r + k] lane l: column 4 l + k of rows r .. r + 3
    b[r] = _mm512_unpacklo_epi64(a[r], a[r + 2]);
    b[r + 1] = _mm512_unpackhi_epi64(a[r], a[r + 2]);
    b[r + 2] = _mm512_unpacklo_epi64(a[r + 1], a[r + 3]);
    b[r + 3] = _mm512_unpackhi_epi64(a[r + 1], a[r + 3]);
  }
  for (int k = 0; k < 4; ++k) {
    const __m512i low_even = _mm512_shuffle_i32x4(b[k], b[4 + k], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(b[k], b[4 + k], 0xdd);
    const __m512i high_even = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0xdd);
    to[k] = _mm512_shuffle_i32x4(low_even, high_even, 0x88);
    to[4 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    to[8 + k] = _mm512_shuffle_i32x4(low_even, high_even, 0xdd);
    to[12 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
}

// 256 weights of one row before they are transposed.
struct StagedRow {
  alignas(64) std::byte q[256];
  float scale[8], min[8];
  int32_t fine[16];
  int32_t fine_min[8], unused[8];
};

template <Form kForm>
inline void stage(const Unpacked& w, StagedRow& to) {
  for (int g = 0; g < 4; ++g) _mm512_store_si512(to.q + 64 * g, w.q[g]);
  _mm256_store_ps(to.scale, w.scale);
  _mm256_store_ps(to.min, w.min);
  if constexpr (kForm.has_fine()) _mm512_store_si512(to.fine, fine_lanes<kForm>(w.fine));
  if constexpr (kForm.has_fine_minimum()) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to.fine_min), _mm256_cvtepi8_epi16(w.fine_min));
  }
}

// The first n blocks of 32 of 16 staged rows.
template <Form kForm>
inline void store_blocks(const StagedRow* rows, int n, BlockOrder order, int64_t superblock,
                         PanelBlock<panel_form(kForm)>* to) {
  const auto at = [&](int b) -> PanelBlock<panel_form(kForm)>& { return to[order.at(superblock, b)]; };
  const auto columns = [&](const void* of_first, __m512i out[16]) {
    transpose(static_cast<const std::byte*>(of_first), sizeof(StagedRow), out);
  };
  __m512i out[16];
  for (int g = 0; g < 4; ++g) {
    columns(rows->q + 64 * g, out);
    for (int k = 0; k < 16; ++k) {
      const int piece = kForm.piece_of_word(g, k);
      if (piece / 2 < n) _mm512_store_si512(at(piece / 2).q[piece % 2 * 4 + kForm.four_of_word(g, k)], out[k]);
    }
  }
  columns(rows->scale, out);
  for (int b = 0; b < n; ++b) {
    _mm512_store_si512(at(b).scale, out[b]);
    if constexpr (sizeof(at(b).min) > 0) _mm512_store_si512(at(b).min, out[8 + b]);
  }
  if constexpr (kForm.has_fine()) {
    columns(rows->fine, out);
    for (int k = 0; k < 16; ++k) {
      const int piece = kForm.piece_of_sum(k);
      if (piece / 2 < n) _mm512_store_si512(at(piece / 2).fine[piece % 2], out[k]);
    }
  }
  if constexpr (kForm.has_fine_minimum()) {
    columns(rows->fine_min, out);
    for (int b = 0; b < n; ++b) _mm512_store_si512(at(b).fine_min, out[b]);
  }
}

// Weight rows [first, first + n_rows), n_rows <= 16, the others zero.
template <typename Source>
inline void fill_panel(const MatrixView& w, int64_t first, int n_rows, BlockOrder order,
                       PanelBlock<panel_form(Source::kForm)>* to) {
  alignas(64) StagedRow rows[kTileRows];
  for (int r = n_rows; r < kTileRows; ++r) rows[r] = {};
  for (int64_t s = 0; s < order.n_whole; ++s) {
    for (int r = 0; r < n_rows; ++r) {
      const Source row(w, first + r);
      stage<Source::kForm>(row.values(s), rows[r]);
    }
    store_blocks<Source::kForm>(rows, 8, order, s, to);
  }
  if (!Source::kMayEndEarly || order.n_tail == 0) return;
  for (int r = 0; r < n_rows; ++r) {
    stage<Source::kForm>(Source(w, first + r).first_values(order.n_whole, order.n_tail), rows[r]);
  }
  store_blocks<Source::kForm>(rows, order.n_tail, order, order.n_whole, to);
}

// 32 activations of row m of a group of n_rows, and what goes with them.
template <Form kForm>
inline void pack_block(const int8_t* q8, float scale, float sum, const int32_t* sums, int block, int m, int n_rows,
                       std::byte* to) {
  const auto put = [to](int64_t at, auto value) { __builtin_memcpy(to + at, &value, sizeof(value)); };
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32 * m), load32(q8));
  put(kScaleAt * n_rows + 4 * m, scale);
  if constexpr (kForm.has_minimum()) put(kRestAt * n_rows + 4 * m, sum);
  if constexpr (!kForm.has_fine() && kForm.offset != 0) {
    put((kRestAt + (kForm.has_minimum() ? 4 : 0)) * n_rows + 4 * m, -sums[block]);
  }
  if constexpr (kForm.kind == Kind::kFine) {
    static constexpr Lanes kLanes16 = lane_of_piece(kForm);
    put(kRestAt * n_rows + 4 * m, -sums[kLanes16.values[2 * block]]);
    put(kRestAt * n_rows + 4 * (n_rows + m), -sums[kLanes16.values[2 * block + 1]]);
  }
  if constexpr (kForm.has_fine_minimum()) put(kRestAt * n_rows + 4 * m, sums[block]);
}

// Activation rows [first, first + n_rows).
template <Form kForm>
inline void pack_rows(const Activations& x, int64_t first, int n_rows, BlockOrder order, std::byte* to) {
  const int64_t block_bytes = int64_t{n_rows} * x_block_bytes(kForm);
  for (int m = 0; m < n_rows; ++m) {
    const int64_t row_block = (first + m) * order.n_blocks();
    for (int64_t s = 0; 8 * s < order.n_blocks(); ++s) {
      const int n = s < order.n_whole ? 8 : order.n_tail;
      const int8_t* q8 = x.q8 + (row_block + 8 * s) * kActivationBlock;
      alignas(64) int32_t sums[16];
      if constexpr (needs_sums(kForm)) {
        alignas(64) int8_t ordered[kSuperblock];
        copy_values<kForm>(q8, n, ordered);
        store_sums<kForm>(ordered, sums);
      }
      alignas(64) int8_t planes[kSuperblock];
      if constexpr (kForm.has_planes()) {
        for (int g = 0; g < 4; ++g) _mm512_store_si512(planes + 64 * g, in_planes(_mm512_loadu_si512(q8 + 64 * g)));
        q8 = planes;
      }
      for (int b = 0; b < n; ++b) {
        const int64_t block = row_block + 8 * s + b;
        pack_block<kForm>(q8 + kActivationBlock * b, x.scale[block], x.sum[block], sums, b, m, n_rows,
                          to + order.at(s, b) * block_bytes);
      }
    }
  }
}

}  // namespace flashmoe::avx512
