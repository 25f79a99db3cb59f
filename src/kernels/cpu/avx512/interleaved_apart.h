// Interleaved rows with scales kept apart, AVX-512: a source of weights like InterleavedRows (interleaved.h), and its
// values (interleaved_values.h).
#pragma once

#include "kernels/cpu/avx512/interleaved_values.h"
#include "kernels/cpu/avx512/unpack_32.h"
#include "quant/affine.h"
#include "quant/mxfp4_split.h"

namespace flashmoe::avx512 {

template <typename Block>
inline constexpr Form kFormApart = {Kind::kMinimum};
template <>
inline constexpr Form kFormApart<BlockMXFP4Split> = {Kind::kPlain, 128};

// 256 values of 16 rows, and their scales and biases [256 / group_cols][16 rows].
template <typename BlockOfRows, bool kAsks = false>
struct ColumnsApart {
  using Block = BlockOfRows;
  InterleavedColumns<Block, kAsks> quants;
  const std::byte *scales, *biases;
  ScaleType type;
  int blocks_shift;  // blocks of 32 in a group of columns, as a power of two

  __m512i word(int b, int k) const {
    return quants.word(static_cast<size_t>(b) * sizeof(Block) + 4 * static_cast<size_t>(k));
  }
  __m512 scale(int b) const { return of_block(scales, b); }
  __m512 bias(int b) const { return of_block(biases, b); }

 private:
  __m512 of_block(const std::byte* from, int b) const {
    const std::byte* const at = from + (b >> blocks_shift) * kInterleavedRows * scale_bytes(type);
    if constexpr (std::is_same_v<Block, BlockMXFP4Split>) return half_powers(_mm512_cvtepu8_epi32(load16(at)));
    if (type == ScaleType::f32) return _mm512_loadu_ps(at);
    if (type == ScaleType::f16) return _mm512_cvtph_ps(load32(at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load32(at)), 16));
  }
};

// Which bits of two words become bytes: four times kBits of each, from `shift` on.
template <int kBits>
inline __m512i spread_fours(__m512i words, int shift) {
  uint64_t from = 0;
  for (int j = 0; j < 8; ++j) from |= static_cast<uint64_t>(j / 4 * 32 + shift + j % 4 * kBits) << 8 * j;
  const __m512i spread = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(static_cast<int64_t>(from)), words);
  return _mm512_and_si512(spread, every((1 << kBits) - 1));
}

// Quants follow one another from the lowest bit of a word on, and over its end.
template <int kBits, bool kAsks>
struct InterleavedValues<ColumnsApart<BlockAffine<kBits>, kAsks>> {
  using Columns = ColumnsApart<BlockAffine<kBits>, kAsks>;
  static constexpr int kTogether = 1;
  const Columns& of;

  explicit InterleavedValues(const Columns& columns) : of(columns) {}
  static constexpr int block(int step, int /*i*/) { return step; }
  void fours(int step, int k, __m512i to[1]) const {
    const int first = 4 * kBits * k, shift = first % 32;
    const __m512i word = of.word(step, first / 32);
    if constexpr (kBits == 8) {
      to[0] = word;
    } else if (shift + 4 * kBits <= 32) {
      to[0] = spread_fours<kBits>(word, shift);
    } else {
      const __m512i upper = _mm512_slli_epi32(of.word(step, first / 32 + 1), static_cast<unsigned>(32 - shift));
      const __m512i lower = _mm512_srli_epi32(word, static_cast<unsigned>(shift));
      to[0] = spread_fours<kBits>(_mm512_or_si512(lower, upper), 0);
    }
  }
  __m512 scale(int b) const { return of.scale(b); }
  __m512 min(int b) const { return _mm512_sub_ps(_mm512_setzero_ps(), of.bias(b)); }  // it is added
};

template <bool kAsks>
struct InterleavedValues<ColumnsApart<BlockMXFP4Split, kAsks>> {
  using Columns = ColumnsApart<BlockMXFP4Split, kAsks>;
  static constexpr int kTogether = 1;
  const Columns& of;

  explicit InterleavedValues(const Columns& columns) : of(columns) {}
  static constexpr int block(int step, int /*i*/) { return step; }
  void fours(int step, int k, __m512i to[1]) const {
    to[0] = _mm512_shuffle_epi8(moved_levels(kMxfp4Levels), spread_fours<4>(of.word(step, k / 2), k % 2 * 16));
  }
  __m512 scale(int b) const { return of.scale(b); }
};

template <typename Block, bool kAsks>
inline void unpack_columns(const ColumnsApart<Block, kAsks>& columns,
                           const PanelPlaces<panel_form(kFormApart<Block>)>& to) {
  const InterleavedValues<ColumnsApart<Block, kAsks>> values(columns);
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    _mm512_store_ps(to[b].scale, values.scale(b));
    if constexpr (requires { values.min(b); }) _mm512_store_ps(to[b].min, values.min(b));
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      __m512i q[1];
      values.fours(b, k, q);
      _mm512_store_si512(to.q(b)[k], q[0]);
    }
  }
}

template <typename Block>
class RowsApart : public InterleavedRows<Block, kFormApart<Block>> {
  using Base = InterleavedRows<Block, kFormApart<Block>>;

 public:
  static constexpr bool kScalesApart = true;
  using Base::Base;

  template <bool kAsks = false>
  static ColumnsApart<Block, kAsks> columns_of(const MatrixView& w, int64_t first, int n_rows, int64_t s) {
    const int64_t at = first * scale_row_bytes(w.grid, w.cols) +
                       s * kSuperblock / w.grid.group_cols * kInterleavedRows * scale_bytes(w.grid.type);
    return {Base::template columns_of<kAsks>(w, first, n_rows, s), w.scales + at,
            w.biases == nullptr ? nullptr : w.biases + at, w.grid.type,
            __builtin_ctz(static_cast<unsigned>(w.grid.group_cols / kActivationBlock))};
  }
  template <typename Places>
  static void columns(const MatrixView& w, int64_t first, int n_rows, int64_t s, const Places& to) {
    unpack_columns(columns_of(w, first, n_rows, s), to);
  }
};

}  // namespace flashmoe::avx512
