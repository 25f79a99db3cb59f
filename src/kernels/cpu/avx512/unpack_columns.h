// 16 weight rows unpacked at once into a panel (int8_gemm.h), AVX-512: bits are
// transposed as they lie in the file and then unpacked in all 16 lanes. Packed
// bits are half as many words to transpose or fewer, and no row's scales are
// worked out by themselves. The numbers are those of unpack_k.h and
// unpack_32.h, to the bit.
#pragma once

#include <type_traits>

#include "kernels/cpu/avx512/int8_gemm.h"
#include "kernels/cpu/avx512/transpose.h"
#include "kernels/cpu/avx512/unpack_32.h"
#include "kernels/cpu/avx512/unpack_iq.h"
#include "kernels/cpu/avx512/unpack_k.h"

namespace flashmoe::avx512 {

// Where the 8 blocks of 256 values go.
template <Form kForm>
class PanelPlaces {
 public:
  PanelPlaces(const Panels<kForm>& panel, BlockOrder order, int64_t superblock) {
    for (int b = 0; b < 8; ++b) blocks_[b] = panel.blocks + order.at(superblock, b);
  }
  uint8_t (&q(int block) const)[8][64] { return blocks_[block]->q; }
  PanelBlock<kForm>& operator[](int block) const { return *blocks_[block]; }

 private:
  PanelBlock<kForm>* blocks_[8];
};

template <typename Block>
using PlacesOf = PanelPlaces<panel_form(form_of(static_cast<const Block*>(nullptr)))>;

// Where unpack_columns gets the words of 16 rows from.
template <typename Columns, typename Block>
concept ColumnsOf = std::is_same_v<typename Columns::Block, Block>;

// The same 256 values of 16 rows, which lie as in the file. `at` is in bytes from where they begin in a row.
template <typename BlockOfRows>
struct RowColumns {
  using Block = BlockOfRows;
  const Block* rows[kTileRows];

  const std::byte* row(int r, size_t at) const { return reinterpret_cast<const std::byte*>(rows[r]) + at; }
  // Words at, at + 4, .. of all rows.
  template <int N>
  void words(size_t at, __m512i (&to)[N]) const {
    static_assert(N == 4 || N == 8 || N == 16);
    if constexpr (N == 4) transpose_4([&](int r) { return row(r, at); }, to);
    if constexpr (N == 8) transpose_8([&](int r) { return row(r, at); }, to);
    if constexpr (N == 16) transpose_16([&](int r) { return _mm512_loadu_si512(row(r, at)); }, to);
  }
  // The f16 at `at` of all rows.
  __m256i halves(size_t at) const {
    alignas(32) uint16_t of_rows[kTileRows];
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) __builtin_memcpy(of_rows + r, row(r, at), sizeof(uint16_t));
    return load32(of_rows);
  }
};

// Byte `byte` of each word.
inline __m512i byte_of(__m512i words, int byte) {
  return _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(8 * byte)), _mm512_set1_epi32(255));
}
inline __m512 halves_to_float(__m512i low_halves) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(low_halves)); }

// Scales and minimums of Q4_K and Q5_K: words are d with dmin, then `scales`.
struct SixBitScales {
  __m512 d, dmin;
  __m512i scales[2], mins[2];

  template <typename Columns>
  explicit SixBitScales(const Columns& rows) {
    using Block = typename Columns::Block;
    static_assert(offsetof(Block, d) == 0 && offsetof(Block, dmin) == 2 && offsetof(Block, scales) == 4);
    __m512i head[4];
    rows.words(0, head);
    d = halves_to_float(head[0]);
    dmin = halves_to_float(_mm512_srli_epi32(head[0], 16));
    const __m512i six_bits = every(0x3f), upper = every(0x30);
    const auto later = [&](__m512i low_nibbles, __m512i upper_bits) {
      return or_masked(_mm512_and_si512(low_nibbles, every(15)), _mm512_srli_epi32(upper_bits, 2), upper);
    };
    scales[0] = _mm512_and_si512(head[1], six_bits);
    scales[1] = later(head[3], head[1]);
    mins[0] = _mm512_and_si512(head[2], six_bits);
    mins[1] = later(_mm512_srli_epi32(head[3], 4), head[2]);
  }
  __m512 scale(int b) const { return _mm512_mul_ps(_mm512_cvtepi32_ps(byte_of(scales[b / 4], b % 4)), d); }
  __m512 min(int b) const { return _mm512_mul_ps(_mm512_cvtepi32_ps(byte_of(mins[b / 4], b % 4)), dmin); }
};
template <Form kForm>
inline void store_scales(const SixBitScales& from, const PanelPlaces<kForm>& to) {
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    _mm512_store_ps(to[b].scale, from.scale(b));
    _mm512_store_ps(to[b].min, from.min(b));
  }
}

// Nibbles, and bits of which bit b is that of block b, as values of blocks `even` and the next.
inline void fours_q5_k(__m512i nibbles, __m512i bits, int even, __m512i to[2]) {
  const auto moved = [&](int b) {  // to bit 4
    return b < 4 ? _mm512_slli_epi32(bits, static_cast<unsigned>(4 - b))
                 : _mm512_srli_epi32(bits, static_cast<unsigned>(b - 4));
  };
  to[0] = or_masked(_mm512_and_si512(nibbles, every(15)), moved(even), every(16));
  to[1] = or_masked(_mm512_and_si512(_mm512_srli_epi16(nibbles, 4), every(15)), moved(even + 1), every(16));
}
template <ColumnsOf<BlockQ5_K> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockQ5_K>& to) {
  using Q = BlockQ5_K;
  store_scales(SixBitScales(rows), to);
  __m512i high[8];
  rows.words(offsetof(Q, high), high);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i words[16];
    rows.words(offsetof(Q, q) + static_cast<size_t>(64 * half), words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      const int even = 4 * half + k / 8 * 2;
      __m512i q[2];
      fours_q5_k(words[k], high[k % 8], even, q);
      _mm512_store_si512(to.q(even)[k % 8], q[0]);
      _mm512_store_si512(to.q(even + 1)[k % 8], q[1]);
    }
  }
}

// Signed factors for each 16 values, four to a word, times powers of two: panels have no steps (unpacked.h).
template <Form kForm>
inline __m512i fine_factor(const __m512i factors[4], int b, int part) {
  const auto above = static_cast<unsigned>(24 - 8 * (b % 2 * 2 + part));
  const __m512i factor = _mm512_srai_epi32(_mm512_slli_epi32(factors[b / 2], above), 24);
  return _mm512_slli_epi32(factor, static_cast<unsigned>(kForm.steps[3] - kForm.steps[b % 4]));
}
template <Form kForm, Form kPanel>
inline void fine_columns(const __m512i factors[4], const PanelPlaces<kPanel>& to) {
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    _mm512_store_si512(to[b].fine[0], fine_factor<kForm>(factors, b, 0));
    _mm512_store_si512(to[b].fine[1], fine_factor<kForm>(factors, b, 1));
  }
}

// Nibbles and pairs of bits as values of runs `run` (0 or 1) and run + 2 of 32.
inline void fours_q6_k(__m512i nibbles, __m512i bits, int run, __m512i to[2]) {
  const __m512i of_low = _mm512_slli_epi32(bits, run == 0 ? 4 : 2);
  const __m512i of_upper = run == 0 ? bits : _mm512_srli_epi32(bits, 2);
  to[0] = or_masked(_mm512_and_si512(nibbles, every(15)), of_low, every(0x30));
  to[1] = or_masked(_mm512_and_si512(_mm512_srli_epi16(nibbles, 4), every(15)), of_upper, every(0x30));
}
template <ColumnsOf<BlockQ6_K> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockQ6_K>& to) {
  using Q = BlockQ6_K;
  const __m512 d = _mm512_cvtph_ps(rows.halves(offsetof(Q, d)));
  __m512i factors[4];
  rows.words(offsetof(Q, scales), factors);
  fine_columns<form_of(static_cast<const BlockQ6_K*>(nullptr))>(factors, to);
  for (int b = 0; b < 8; ++b) _mm512_store_ps(to[b].scale, d);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i high[8], words[16];
    rows.words(offsetof(Q, high) + static_cast<size_t>(32 * half), high);
    rows.words(offsetof(Q, low) + static_cast<size_t>(64 * half), words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {  // runs 0 and 2, then 1 and 3
      const int run = 4 * half + k / 8;
      __m512i q[2];
      fours_q6_k(words[k], high[k % 8], k / 8, q);
      _mm512_store_si512(to.q(run)[k % 8], q[0]);
      _mm512_store_si512(to.q(run + 2)[k % 8], q[1]);
    }
  }
}

template <ColumnsOf<BlockQ3_K> Columns>
inline void factors_q3_k(const Columns& rows, __m512i factors[4]) {
  __m512i tail[4];  // the word before the scales comes with them
  rows.words(offsetof(BlockQ3_K, scales) - 4, tail);
  const __m512i low[2] = {tail[1], tail[2]}, upper = tail[3];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i nibbles = _mm512_and_si512(_mm512_srli_epi32(low[j % 2], j < 2 ? 0 : 4), every(15));
    const __m512i bits = j < 2 ? _mm512_slli_epi32(upper, static_cast<unsigned>(4 - 2 * j))
                               : _mm512_srli_epi32(upper, static_cast<unsigned>(2 * j - 4));
    factors[j] = _mm512_sub_epi8(or_masked(nibbles, bits, every(0x30)), every(32));
  }
}
// Pairs of bits, and third bits of half `half`, as values of its four runs of 32, times their steps (unpack_k.h).
inline void fours_q3_k(__m512i pairs, __m512i thirds, int half, __m512i to[4]) {
  const __m512i bits = _mm512_srli_epi32(thirds, static_cast<unsigned>(4 * half)),
                by_three = _mm512_slli_epi32(bits, 3);
  to[0] = or_masked(_mm512_and_si512(pairs, every(3)), _mm512_slli_epi32(bits, 2), every(4));
  to[1] = or_masked(_mm512_and_si512(pairs, every(12)), by_three, every(16));
  to[2] = or_masked(_mm512_and_si512(pairs, every(48)), _mm512_slli_epi32(bits, 4), every(64));
  to[3] = or_masked(_mm512_and_si512(_mm512_srli_epi32(pairs, 2), every(48)), by_three, every(64));
}
template <ColumnsOf<BlockQ3_K> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockQ3_K>& to) {
  using Q = BlockQ3_K;
  __m512i factors[4];
  factors_q3_k(rows, factors);
  fine_columns<form_of(static_cast<const BlockQ3_K*>(nullptr))>(factors, to);
  const __m512 d = _mm512_cvtph_ps(rows.halves(offsetof(Q, d)));
  const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(0.0625f));
  for (int b = 0; b < 8; ++b) _mm512_store_ps(to[b].scale, scale);
  __m512i high[8], words[16];
  rows.words(offsetof(Q, high), high);
  rows.words(offsetof(Q, q), words);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    __m512i q[4];
    fours_q3_k(words[k], high[k % 8], k / 8, q);
#pragma GCC unroll 4
    for (int run = 0; run < 4; ++run) _mm512_store_si512(to.q(k / 8 * 4 + run)[k % 8], q[run]);
  }
}

// The minimums of the halves of block b as two 16-bit factors.
inline __m512i fine_min_q2_k(const __m512i packed[4], int b) {
  const __m512i mins = _mm512_and_si512(_mm512_srli_epi32(packed[b / 2], 4), every(15));
  const __m512i two = b % 2 == 0 ? mins : _mm512_srli_epi32(mins, 16);
  return _mm512_or_si512(byte_of(two, 0), _mm512_slli_epi32(byte_of(two, 1), 16));
}
template <ColumnsOf<BlockQ2_K> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockQ2_K>& to) {
  using Q = BlockQ2_K;
  __m512i packed[4], factors[4];
  rows.words(offsetof(Q, scales), packed);
  for (int j = 0; j < 4; ++j) factors[j] = _mm512_and_si512(packed[j], every(15));
  fine_columns<form_of(static_cast<const BlockQ2_K*>(nullptr))>(factors, to);
  const __m512 d = _mm512_cvtph_ps(rows.halves(offsetof(Q, d)));
  const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(0.015625f));
  const __m512 min = _mm512_cvtph_ps(rows.halves(offsetof(Q, dmin)));
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    _mm512_store_si512(to[b].fine_min, fine_min_q2_k(packed, b));
    _mm512_store_ps(to[b].scale, scale);
    _mm512_store_ps(to[b].min, min);
  }
  __m512i words[16];
  rows.words(offsetof(Q, q), words);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
#pragma GCC unroll 4
    for (int run = 0; run < 4; ++run) {
      _mm512_store_si512(to.q(k / 8 * 4 + run)[k % 8], _mm512_and_si512(words[k], every(3 << 2 * run)));
    }
  }
}

struct ScalesIq4Xs {
  __m512 d;
  __m512i high, low;  // pairs of bits from bit 16 on, and nibbles

  template <ColumnsOf<BlockIQ4_XS> Columns>
  explicit ScalesIq4Xs(const Columns& rows) {
    static_assert(offsetof(BlockIQ4_XS, scales_high) == 2 && offsetof(BlockIQ4_XS, scales_low) == 4);
    __m512i head[4];
    rows.words(0, head);
    d = halves_to_float(head[0]);
    high = head[0];
    low = head[1];
  }
  __m512 scale(int b) const {
    const __m512i nibble =
        _mm512_and_si512(_mm512_srli_epi32(low, static_cast<unsigned>(4 * b)), _mm512_set1_epi32(15));
    const __m512i bits = _mm512_srli_epi32(high, static_cast<unsigned>(12 + 2 * b));
    const __m512i step = or_masked(nibble, bits, _mm512_set1_epi32(0x30));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(step, _mm512_set1_epi32(32))), d);
  }
};
// Nibbles as values of the first and of the second half of a block.
inline __m512i first_iq4(__m512i nibbles) {
  return _mm512_shuffle_epi8(moved_levels(kIq4Levels), _mm512_and_si512(nibbles, every(15)));
}
inline __m512i second_iq4(__m512i nibbles) { return first_iq4(_mm512_srli_epi16(nibbles, 4)); }

template <ColumnsOf<BlockIQ4_XS> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockIQ4_XS>& to) {
  const ScalesIq4Xs scales(rows);
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) _mm512_store_ps(to[b].scale, scales.scale(b));
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i words[16];
    rows.words(offsetof(BlockIQ4_XS, q) + static_cast<size_t>(64 * half), words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      _mm512_store_si512(to.q(4 * half + k / 4)[k % 4], first_iq4(words[k]));
      _mm512_store_si512(to.q(4 * half + k / 4)[4 + k % 4], second_iq4(words[k]));
    }
  }
}

// Each 8 blocks of a row are one after another.
template <ColumnsOf<BlockQ8_0> Columns>
inline void unpack_columns(const Columns& rows, const PlacesOf<BlockQ8_0>& to) {
  using Q = BlockQ8_0;
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    const size_t at = static_cast<size_t>(b) * sizeof(Q);
    _mm512_store_ps(to[b].scale, _mm512_cvtph_ps(rows.halves(at + offsetof(Q, d))));
    __m512i words[8];
    rows.words(at + offsetof(Q, q), words);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) _mm512_store_si512(to.q(b)[k], _mm512_xor_si512(words[k], every(0x80)));
  }
}

}  // namespace flashmoe::avx512
