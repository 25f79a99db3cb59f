// The scales of 16 weight rows that are kept apart from them, AVX2.
//
// Of block b of 32 columns, for rows [8 half, 8 half + 8): scale(b, half), and of formats with biases min(b, half),
// what the products are less.
#pragma once

#include <bit>

#include "base/check.h"
#include "kernels/cpu/avx2/block_products.h"
#include "kernels/cpu/avx2/interleaved_values_apart.h"

namespace flashmoe::FLASHMOE_ISA {

template <typename Block>
inline constexpr bool kHasScalesApart = false;
template <int kBits>
inline constexpr bool kHasScalesApart<BlockAffine<kBits>> = true;
template <>
inline constexpr bool kHasScalesApart<BlockMXFP4Split> = true;

// Eight scales that follow one another; of MXFP4 half of each, since its levels are twice as large.
template <ScaleType kType>
inline __m256 eight_scales(const std::byte* from) {
  switch (kType) {
    case ScaleType::f32:
      return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
    case ScaleType::f16:
      return _mm256_cvtph_ps(load16(from));
    case ScaleType::bf16:
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(from)), 16));
    case ScaleType::e8m0:
      return half_e8m0(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
}
// A bias less, and 128 scales less where quants are 128 less.
template <typename Block>
inline __m256 min_of(__m256 bias, __m256 scale) {
  const __m256 without = _mm256_sub_ps(_mm256_setzero_ps(), bias);
  if constexpr (!InterleavedValues<Block>::kBytes.is_signed) return without;
  return _mm256_fnmadd_ps(_mm256_set1_ps(128), scale, without);
}
// Calls body.operator()<kType>() with the type of the scales.
template <typename Block, typename Body>
inline void with_scale_type(const ScaleGrid& grid, Body body) {
  if constexpr (!HasMinimum<Block>) {
    body.template operator()<ScaleType::e8m0>();
  } else if (grid.type == ScaleType::bf16) {
    body.template operator()<ScaleType::bf16>();
  } else if (grid.type == ScaleType::f16) {
    body.template operator()<ScaleType::f16>();
  } else {
    body.template operator()<ScaleType::f32>();
  }
}

// Of formats that have none.
struct NoScalesApart {};

// Those of rows that lie interleaved, [cols / group_cols][16 rows], from the first row and column of a pass on.
template <typename Block, ScaleType kType>
class InterleavedScales {
 public:
  InterleavedScales(const MatrixView& w, int64_t row, const Pass& pass)
      : blocks_shift_(std::countr_zero(static_cast<uint32_t>(w.grid.group_cols / kActivationBlock))) {
    const int64_t first_group = pass.first_col / w.grid.group_cols;
    const int64_t at = row * scale_row_bytes(w.grid, w.cols) + first_group * 2 * kHalfBytes;
    scales_ = w.scales + at;
    if constexpr (HasMinimum<Block>) biases_ = w.biases + at;
  }
  __m256 scale(int64_t b, int half) const { return eight_scales<kType>(scales_ + place(b, half)); }
  __m256 min(int64_t b, int half) const {
    return min_of<Block>(eight_scales<kType>(biases_ + place(b, half)), scale(b, half));
  }

 private:
  static constexpr int64_t kHalfBytes = 8 * scale_bytes(kType);
  int64_t place(int64_t b, int half) const { return (b >> blocks_shift_) * 2 * kHalfBytes + half * kHalfBytes; }

  int blocks_shift_;  // blocks of 32 columns in a group of columns, as a power of two
  const std::byte *scales_, *biases_ = nullptr;
};

inline void transpose_8(__m256 (&rows)[8]) {
  __m256i words[8];
  for (int r = 0; r < 8; ++r) words[r] = _mm256_castps_si256(rows[r]);
  transpose_8(words);
  for (int r = 0; r < 8; ++r) rows[r] = _mm256_castsi256_ps(words[r]);
}

// Those of n_rows rows from `row` on that lie as they are stored, the columns of a pass; the last row is repeated, and
// up to a whole superblock follow those of zeros.
template <typename Block>
class GatheredScales {
 public:
  GatheredScales(const MatrixView& w, int64_t row, int64_t n_rows, const Pass& pass)
      : n_groups_(pass.n_cols / w.grid.group_cols),
        group_blocks_(w.grid.group_cols / kActivationBlock),
        n_blocks_((pass.n_cols + kSuperblock - 1) / kSuperblock * 8),
        row_bytes_(scale_row_bytes(w.grid, w.cols)) {
    const int64_t at = row * row_bytes_ + pass.first_col / w.grid.group_cols * scale_bytes(w.grid.type);
    with_scale_type<Block>(w.grid, [&]<ScaleType kType>() {
      gather<kType>(w.scales + at, HasMinimum<Block> ? w.biases + at : nullptr, n_rows);
    });
  }
  __m256 scale(int64_t b, int half) const { return _mm256_loadu_ps(blocks_[b].scale + 8 * half); }
  __m256 min(int64_t b, int half) const { return _mm256_loadu_ps(blocks_[b].min + 8 * half); }

 private:
  struct BlockScales {
    float scale[kInterleavedRows], min[kInterleavedRows];
  };

  template <ScaleType kType>
  void gather(const std::byte* scales, const std::byte* biases, int64_t n_rows) {
    for (int64_t g = 0; g * group_blocks_ < n_blocks_; g += 8) {
      for (int half = 0; half < 2; ++half) {
        __m256 eight[8], mins[8] = {};  // of a row, then of a group
#pragma GCC unroll 8
        for (int64_t r = 0; r < 8; ++r) {
          const int64_t row = 8 * half + r < n_rows ? 8 * half + r : n_rows - 1;
          eight[r] = eight_of<kType>(scales + row * row_bytes_, g);
          if constexpr (HasMinimum<Block>) {
            mins[r] = min_of<Block>(eight_of<kType>(biases + row * row_bytes_, g), eight[r]);
          }
        }
        transpose_8(eight);
        if constexpr (HasMinimum<Block>) transpose_8(mins);
        BlockScales *to = blocks_ + g * group_blocks_, *const end = blocks_ + n_blocks_;
        for (int j = 0; j < 8 && to < end; ++j) {
          for (const BlockScales* const next = to + group_blocks_; to < next; ++to) put(half, eight[j], mins[j], to);
        }
      }
    }
  }
  static void put(int half, __m256 scale, __m256 min, BlockScales* to) {
    _mm256_storeu_ps(to->scale + 8 * half, scale);
    if constexpr (HasMinimum<Block>) _mm256_storeu_ps(to->min + 8 * half, min);
  }
  // Groups [g, g + 8) of a row, zeros beyond its last.
  template <ScaleType kType>
  __m256 eight_of(const std::byte* row, int64_t g) const {
    const std::byte* const from = row + g * scale_bytes(kType);
    if (g + 8 <= n_groups_) return eight_scales<kType>(from);
    std::byte whole[32] = {};
    if (g < n_groups_) __builtin_memcpy(whole, from, static_cast<size_t>((n_groups_ - g) * scale_bytes(kType)));
    return eight_scales<kType>(whole);
  }

  int64_t n_groups_, group_blocks_, n_blocks_, row_bytes_;
  BlockScales blocks_[kColsOfPass / kActivationBlock];
};

// Calls body(scales) with those of 16 rows that lie interleaved.
template <typename Block, typename Body>
inline void with_interleaved_scales(const MatrixView& w, int64_t row, const Pass& pass, Body body) {
  if constexpr (kHasScalesApart<Block>) {
    CHECK(w.grid.group_rows == 1);
    with_scale_type<Block>(w.grid, [&]<ScaleType kType>() { body(InterleavedScales<Block, kType>(w, row, pass)); });
  } else {
    body(NoScalesApart());
  }
}
// The same with those of n_rows rows as they are stored.
template <typename Block, typename Body>
inline void with_gathered_scales(const MatrixView& w, int64_t row, int64_t n_rows, const Pass& pass, Body body) {
  if constexpr (kHasScalesApart<Block>) {
    CHECK(w.grid.group_rows == 1);
    body(GatheredScales<Block>(w, row, n_rows, pass));
  } else {
    body(NoScalesApart());
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
