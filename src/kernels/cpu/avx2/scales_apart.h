// The scales of 16 weight rows that are kept apart from them, for each block of 32 columns, AVX2.
#pragma once

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
inline void transpose_8(__m256 (&rows)[8]) {
  __m256i words[8];
  for (int r = 0; r < 8; ++r) words[r] = _mm256_castps_si256(rows[r]);
  transpose_8(words);
  for (int r = 0; r < 8; ++r) rows[r] = _mm256_castsi256_ps(words[r]);
}

// Of formats that have none.
template <typename Block>
struct ScalesApart {
  ScalesApart(const MatrixView&, int64_t, int64_t, const Pass&) {}
  static const BlockScales* blocks() { return nullptr; }
};

// Those of n_rows rows from `row` on, the columns of a pass; the last row is repeated, and up to a whole superblock
// follow those of zeros.
template <typename Block>
requires kHasScalesApart<Block>
class ScalesApart<Block> {
 public:
  ScalesApart(const MatrixView& w, int64_t row, int64_t n_rows, const Pass& pass)
      : n_groups_(pass.n_cols / w.grid.group_cols),
        group_blocks_(w.grid.group_cols / kActivationBlock),
        n_blocks_((pass.n_cols + kSuperblock - 1) / kSuperblock * 8),
        row_bytes_(scale_row_bytes(w.grid, w.cols)) {
    CHECK(w.grid.group_rows == 1);
    const int64_t first_group = pass.first_col / w.grid.group_cols;
    const int64_t at =
        row * row_bytes_ + first_group * scale_bytes(w.grid.type) * (w.interleaved ? kInterleavedRows : 1);
    const std::byte *scales = w.scales + at, *biases = HasMinimum<Block> ? w.biases + at : nullptr;
    const auto read = [&]<ScaleType kType>() {
      w.interleaved ? take<kType>(scales, biases) : gather<kType>(scales, biases, n_rows);
    };
    if constexpr (!HasMinimum<Block>) {
      read.template operator()<ScaleType::e8m0>();
    } else if (w.grid.type == ScaleType::bf16) {
      read.template operator()<ScaleType::bf16>();
    } else if (w.grid.type == ScaleType::f16) {
      read.template operator()<ScaleType::f16>();
    } else {
      read.template operator()<ScaleType::f32>();
    }
  }
  const BlockScales* blocks() const { return blocks_; }

 private:
  // Of rows that lie interleaved.
  template <ScaleType kType>
  void take(const std::byte* scales, const std::byte* biases) {
    const int64_t half_bytes = 8 * scale_bytes(kType);
    const int64_t group_blocks = group_blocks_;  // stores to blocks_ might change a member, for all that compilers know
    BlockScales* to = blocks_;
    for (const std::byte* const end = scales + n_groups_ * 2 * half_bytes; scales < end;) {
      __m256 eight[2], mins[2] = {};
      for (int half = 0; half < 2; ++half, scales += half_bytes) {
        eight[half] = eight_scales<kType>(scales);
        if constexpr (!HasMinimum<Block>) continue;
        mins[half] = less(eight_scales<kType>(biases), eight[half]);
        biases += half_bytes;
      }
      for (const BlockScales* const next = to + group_blocks; to < next; ++to) {
        put(0, eight[0], mins[0], to);
        put(1, eight[1], mins[1], to);
      }
    }
  }
  // Of rows as they are stored.
  template <ScaleType kType>
  void gather(const std::byte* scales, const std::byte* biases, int64_t n_rows) {
    for (int64_t g = 0; g * group_blocks_ < n_blocks_; g += 8) {
      for (int half = 0; half < 2; ++half) {
        __m256 eight[8], mins[8] = {};  // of a row, then of a group
#pragma GCC unroll 8
        for (int64_t r = 0; r < 8; ++r) {
          const int64_t row = 8 * half + r < n_rows ? 8 * half + r : n_rows - 1;
          eight[r] = eight_of<kType>(scales + row * row_bytes_, g);
          if constexpr (HasMinimum<Block>) mins[r] = less(eight_of<kType>(biases + row * row_bytes_, g), eight[r]);
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
  // A bias less, and 128 scales less where quants are 128 less.
  static __m256 less(__m256 bias, __m256 scale) {
    const __m256 without = _mm256_sub_ps(_mm256_setzero_ps(), bias);
    if constexpr (!InterleavedValues<Block>::kBytes.is_signed) return without;
    return _mm256_fnmadd_ps(_mm256_set1_ps(128), scale, without);
  }

  int64_t n_groups_, group_blocks_, n_blocks_, row_bytes_;
  BlockScales blocks_[kColsOfPass / kActivationBlock];
};

}  // namespace flashmoe::FLASHMOE_ISA
