// The panels of int8_gemm.h are made here: weights unpacked and transposed, activations packed. AVX-512.
#pragma once

#include "kernels/cpu/avx512/unpack_columns.h"
#include "memory/view.h"

namespace flashmoe::avx512 {

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
inline void store_blocks(const StagedRow* rows, int n, const PanelPlaces<panel_form(kForm)>& at) {
  const auto columns = [&](const void* of_first, __m512i out[16]) {
    const auto* first = static_cast<const std::byte*>(of_first);
    transpose_16([=](int r) { return _mm512_load_si512(first + r * static_cast<int>(sizeof(StagedRow))); }, out);
  };
  __m512i out[16];
  for (int g = 0; g < 4; ++g) {
    columns(rows->q + 64 * g, out);
    for (int k = 0; k < 16; ++k) {
      const int piece = kForm.piece_of_word(g, k);
      if (piece / 2 < n) _mm512_store_si512(at.q(piece / 2)[piece % 2 * 4 + kForm.four_of_word(g, k)], out[k]);
    }
  }
  columns(rows->scale, out);
  for (int b = 0; b < n; ++b) {
    _mm512_store_si512(at[b].scale, out[b]);
    if constexpr (sizeof(at[b].min) > 0) _mm512_store_si512(at[b].min, out[8 + b]);
  }
  if constexpr (kForm.has_fine()) {
    columns(rows->fine, out);
    for (int k = 0; k < 16; ++k) {
      const int piece = kForm.piece_of_sum(k);
      if (piece / 2 < n) _mm512_store_si512(at[piece / 2].fine[piece % 2], out[k]);
    }
  }
  if constexpr (kForm.has_fine_minimum()) {
    columns(rows->fine_min, out);
    for (int b = 0; b < n; ++b) _mm512_store_si512(at[b].fine_min, out[b]);
  }
}

template <typename Source>
concept UnpacksColumns = requires(const MatrixView& w, const PanelPlaces<panel_form(Source::kForm)>& to) {
  Source::columns(w, int64_t{}, int{}, int64_t{}, to);
};

// The n <= 8 blocks of superblock s of rows [first, first + n_rows), n_rows <= 16; other lanes may have anything.
template <typename Source>
inline void fill_blocks(const MatrixView& w, int64_t first, int n_rows, int64_t s, int n,
                        const PanelPlaces<panel_form(Source::kForm)>& to) {
  if constexpr (UnpacksColumns<Source> && !Source::kMayEndEarly) {
    Source::columns(w, first, n_rows, s, to);
  } else {
    if constexpr (UnpacksColumns<Source>) {
      if (n == 8) return Source::columns(w, first, n_rows, s, to);
    }
    alignas(64) StagedRow rows[kTileRows];
    for (int r = 0; r < kTileRows; ++r) {
      const Source row(w, first + (r < n_rows ? r : n_rows - 1));
      stage<Source::kForm>(n == 8 ? row.values(s) : row.first_values(s, n), rows[r]);
    }
    store_blocks<Source::kForm>(rows, n, to);
  }
}

template <typename Source>
inline void fill_panel(const MatrixView& w, int64_t first, int n_rows, BlockOrder order,
                       const Panels<panel_form(Source::kForm)>& to) {
  for (int64_t s = 0; s < order.n_whole; ++s) fill_blocks<Source>(w, first, n_rows, s, 8, {to, order, s});
  if (Source::kMayEndEarly && order.n_tail != 0) {
    fill_blocks<Source>(w, first, n_rows, order.n_whole, order.n_tail, {to, order, order.n_whole});
  }
}

// What the products of 16 values are added to.
template <Form kForm>
inline int32_t start_of(const int32_t* sums, int piece) {
  static constexpr Lanes kLanes16 = lane_of_piece(kForm);
  const int32_t in_lane = sums[kLanes16.values[piece]];
  return kForm.is_upright() ? in_lane : -in_lane;
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
    int32_t start = -sums[block];
    if constexpr (kForm.is_upright()) start = start_of<kForm>(sums, 2 * block) + start_of<kForm>(sums, 2 * block + 1);
    put((kRestAt + (kForm.has_minimum() ? 4 : 0)) * n_rows + 4 * m, start);
  }
  if constexpr (kForm.kind == Kind::kFine) {
    put(kRestAt * n_rows + 4 * m, start_of<kForm>(sums, 2 * block));
    put(kRestAt * n_rows + 4 * (n_rows + m), start_of<kForm>(sums, 2 * block + 1));
  }
  if constexpr (kForm.has_fine_minimum()) put(kRestAt * n_rows + 4 * m, sums[block]);
}

// Activation rows [first, first + M) of forms that need no sums, block by block in the order of panels.
template <Form kForm, int M>
inline void pack_blocks(const Activations& x, int64_t first, BlockOrder order, std::byte* to) {
  const int64_t n_blocks = order.n_blocks();
  for (int j = 0; j < 8; ++j) {
    int64_t block = first * n_blocks + j;
    for (int64_t left = order.n_of(j); left > 0; --left, block += 8, to += M * x_block_bytes(kForm)) {
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const int64_t at = block + m * n_blocks;
        pack_block<kForm>(x.q8 + kActivationBlock * at, x.scale[at], x.sum[at], nullptr, 0, m, M, to);
      }
    }
  }
}
template <Form kForm>
inline void pack_blocks(const Activations& x, int64_t first, int n_rows, BlockOrder order, std::byte* to) {
  constexpr void (*kAll[])(const Activations&, int64_t, BlockOrder, std::byte*) = {
      pack_blocks<kForm, 1>, pack_blocks<kForm, 2>, pack_blocks<kForm, 3>,
      pack_blocks<kForm, 4>, pack_blocks<kForm, 5>, pack_blocks<kForm, 6>};
  kAll[n_rows - 1](x, first, order, to);
}

// Activation rows [first, first + n_rows).
template <Form kForm>
inline void pack_rows(const Activations& x, int64_t first, int n_rows, BlockOrder order, std::byte* to) {
  if constexpr (!needs_sums(kForm) && !kForm.has_planes()) return pack_blocks<kForm>(x, first, n_rows, order, to);
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
      alignas(64) int8_t planes[kSuperblock] = {};
      if constexpr (kForm.has_planes()) {
        __builtin_memcpy(planes, q8, static_cast<size_t>(n * kActivationBlock));  // the last row may end here
        for (int g = 0; g < 4; ++g) _mm512_store_si512(planes + 64 * g, in_planes(_mm512_load_si512(planes + 64 * g)));
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
