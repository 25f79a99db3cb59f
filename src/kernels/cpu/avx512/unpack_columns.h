// 16 weight rows unpacked at once into a panel (int8_gemm.h), AVX-512: bits are
// transposed as they lie in the file and then unpacked in all 16 lanes. Packed
// bits are half as many words to transpose or fewer, and no row's scales are
// worked out by themselves. The numbers are those of unpack_k.h and
// unpack_32.h, to the bit.
#pragma once

#include "kernels/cpu/avx512/int8_gemm.h"
#include "kernels/cpu/avx512/transpose.h"
#include "kernels/cpu/avx512/unpack_32.h"
#include "kernels/cpu/avx512/unpack_k.h"

namespace flashmoe::avx512 {

// Where the 8 blocks of 256 values go.
template <Form kForm>
class PanelPlaces {
 public:
  PanelPlaces(const Panels<kForm>& panel, BlockOrder order, int64_t superblock) {
    for (int b = 0; b < 8; ++b) {
      fours_[b] = panel.fours + (kForm.in_nibbles ? order.pair_at(superblock, b) : order.at(superblock, b));
      blocks_[b] = panel.blocks + order.at(superblock, b);
    }
  }
  uint8_t (&q(int block) const)[8][64] { return fours_[block]->q; }
  PanelBlock<kForm>& operator[](int block) const { return *blocks_[block]; }

 private:
  PanelFours* fours_[8];
  PanelBlock<kForm>* blocks_[8];
};

template <typename Block>
using PlacesOf = PanelPlaces<panel_form(form_of(static_cast<const Block*>(nullptr)))>;

// The same 256 values of 16 rows.
template <typename Block>
using Rows = const Block* const (&)[kTileRows];

// Byte `byte` of each word.
inline __m512i byte_of(__m512i words, int byte) {
  return _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(8 * byte)), _mm512_set1_epi32(255));
}
inline __m512 halves_to_float(__m512i low_halves) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(low_halves)); }
// The f16 at half_of(r) of each row.
template <typename HalfOf>
inline __m512 gather_halves(const HalfOf& half_of) {
  alignas(32) uint16_t halves[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) __builtin_memcpy(halves + r, half_of(r), sizeof(uint16_t));
  return _mm512_cvtph_ps(load32(halves));
}

// Scales and minimums of Q4_K and Q5_K: words are d with dmin, then `scales`.
// Odd blocks' are multiplied by `of_odd`, a power of two.
template <typename Block, Form kForm>
inline void scale_columns(Rows<Block> rows, const PanelPlaces<kForm>& to, float of_odd) {
  static_assert(offsetof(Block, d) == 0 && offsetof(Block, dmin) == 2 && offsetof(Block, scales) == 4);
  __m512i head[4];
  transpose_4([&](int r) { return rows[r]; }, head);
  const __m512 d = halves_to_float(head[0]), dmin = halves_to_float(_mm512_srli_epi32(head[0], 16));
  const __m512 odd_d = _mm512_mul_ps(d, _mm512_set1_ps(of_odd));
  const __m512i six_bits = _mm512_set1_epi8(0x3f), upper = _mm512_set1_epi8(0x30), nibbles = _mm512_set1_epi8(15);
  const auto later = [&](__m512i low_nibbles, __m512i upper_bits) {
    return or_masked(_mm512_and_si512(low_nibbles, nibbles), _mm512_srli_epi32(upper_bits, 2), upper);
  };
  const __m512i scales[2] = {_mm512_and_si512(head[1], six_bits), later(head[3], head[1])};
  const __m512i mins[2] = {_mm512_and_si512(head[2], six_bits), later(_mm512_srli_epi32(head[3], 4), head[2])};
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    const __m512 steps = _mm512_cvtepi32_ps(byte_of(scales[b / 4], b % 4));
    _mm512_store_ps(to[b].scale, _mm512_mul_ps(steps, b % 2 == 0 ? d : odd_d));
    _mm512_store_ps(to[b].min, _mm512_mul_ps(_mm512_cvtepi32_ps(byte_of(mins[b / 4], b % 4)), dmin));
  }
}

inline void unpack_columns(Rows<BlockQ4_K> rows, const PlacesOf<BlockQ4_K>& to) {
  scale_columns<BlockQ4_K>(rows, to, 0.0625f);  // high nibbles stay where they are
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i words[16];
    transpose_16([&](int r) { return _mm512_loadu_si512(rows[r]->q + 64 * half); }, words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) _mm512_store_si512(to.q(4 * half + k / 8 * 2)[k % 8], words[k]);
  }
}

inline void unpack_columns(Rows<BlockQ5_K> rows, const PlacesOf<BlockQ5_K>& to) {
  scale_columns<BlockQ5_K>(rows, to, 1);
  __m512i high[8];
  transpose_8([&](int r) { return rows[r]->high; }, high);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i words[16];
    transpose_16([&](int r) { return _mm512_loadu_si512(rows[r]->q + 64 * half); }, words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      const int even = 4 * half + k / 8 * 2;
      const __m512i low = _mm512_and_si512(words[k], every(15));
      const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(words[k], 4), every(15));
      const __m512i bits = high[k % 8];  // bit b is that of block b: to bit 4
      const auto moved = [&](int b) {
        return b < 4 ? _mm512_slli_epi32(bits, static_cast<unsigned>(4 - b))
                     : _mm512_srli_epi32(bits, static_cast<unsigned>(b - 4));
      };
      _mm512_store_si512(to.q(even)[k % 8], or_masked(low, moved(even), every(16)));
      _mm512_store_si512(to.q(even + 1)[k % 8], or_masked(upper, moved(even + 1), every(16)));
    }
  }
}

// Signed factors for each 16 values, four to a word, times powers of two:
// panels have no steps (unpacked.h).
template <Form kForm, Form kPanel>
inline void fine_columns(const __m512i factors[4], const PanelPlaces<kPanel>& to) {
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    const int step = kForm.steps[3] - kForm.steps[b % 4];
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part) {
      const auto above = static_cast<unsigned>(24 - 8 * (b % 2 * 2 + part));
      const __m512i factor = _mm512_srai_epi32(_mm512_slli_epi32(factors[b / 2], above), 24);
      _mm512_store_si512(to[b].fine[part], _mm512_slli_epi32(factor, static_cast<unsigned>(step)));
    }
  }
}

inline void unpack_columns(Rows<BlockQ6_K> rows, const PlacesOf<BlockQ6_K>& to) {
  const __m512 d = gather_halves([&](int r) { return rows[r]->d; });
  __m512i factors[4];
  transpose_4([&](int r) { return rows[r]->scales; }, factors);
  fine_columns<form_of(static_cast<const BlockQ6_K*>(nullptr))>(factors, to);
  for (int b = 0; b < 8; ++b) _mm512_store_ps(to[b].scale, d);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m512i high[8], words[16];
    transpose_8([&](int r) { return rows[r]->high + 32 * half; }, high);
    transpose_16([&](int r) { return _mm512_loadu_si512(rows[r]->low + 64 * half); }, words);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {  // runs 0 and 2, then 1 and 3
      const int run = 4 * half + k / 8;
      const __m512i low = _mm512_and_si512(words[k], every(15));
      const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(words[k], 4), every(15));
      const __m512i bits = high[k % 8];
      const __m512i of_low = _mm512_slli_epi32(bits, k < 8 ? 4 : 2),
                    of_upper = k < 8 ? bits : _mm512_srli_epi32(bits, 2);
      _mm512_store_si512(to.q(run)[k % 8], or_masked(low, of_low, every(0x30)));
      _mm512_store_si512(to.q(run + 2)[k % 8], or_masked(upper, of_upper, every(0x30)));
    }
  }
}

inline void unpack_columns(Rows<BlockQ3_K> rows, const PlacesOf<BlockQ3_K>& to) {
  // The two bytes before the scales come with them: the two after the last d
  // need not be there.
  __m512i tail[4];
  transpose_4([&](int r) { return reinterpret_cast<const uint8_t*>(rows[r]) + offsetof(BlockQ3_K, scales) - 2; }, tail);
  const auto from_upper_half = [&](int k) {
    return _mm512_or_si512(_mm512_srli_epi32(tail[k], 16), _mm512_slli_epi32(tail[k + 1], 16));
  };
  const __m512i low[2] = {from_upper_half(0), from_upper_half(1)}, upper = from_upper_half(2);
  __m512i factors[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i nibbles = _mm512_and_si512(_mm512_srli_epi32(low[j % 2], j < 2 ? 0 : 4), every(15));
    const __m512i bits = j < 2 ? _mm512_slli_epi32(upper, static_cast<unsigned>(4 - 2 * j))
                               : _mm512_srli_epi32(upper, static_cast<unsigned>(2 * j - 4));
    factors[j] = _mm512_sub_epi8(or_masked(nibbles, bits, every(0x30)), every(32));
  }
  fine_columns<form_of(static_cast<const BlockQ3_K*>(nullptr))>(factors, to);
  const __m512 scale = _mm512_mul_ps(halves_to_float(_mm512_srli_epi32(tail[3], 16)), _mm512_set1_ps(0.0625f));
  for (int b = 0; b < 8; ++b) _mm512_store_ps(to[b].scale, scale);
  __m512i high[8], words[16];
  transpose_8([&](int r) { return rows[r]->high; }, high);
  transpose_16([&](int r) { return _mm512_loadu_si512(rows[r]->q); }, words);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    const int first = k / 8 * 4;
    const __m512i pairs = words[k], bits = _mm512_srli_epi32(high[k % 8], k < 8 ? 0 : 4);
    const __m512i by_three = _mm512_slli_epi32(bits, 3);
    const auto store = [&](int run, __m512i low_bits, __m512i third, int at) {
      _mm512_store_si512(to.q(first + run)[k % 8], or_masked(low_bits, third, every(at)));
    };
    store(0, _mm512_and_si512(pairs, every(3)), _mm512_slli_epi32(bits, 2), 4);
    store(1, _mm512_and_si512(pairs, every(12)), by_three, 16);
    store(2, _mm512_and_si512(pairs, every(48)), _mm512_slli_epi32(bits, 4), 64);
    store(3, _mm512_and_si512(_mm512_srli_epi32(pairs, 2), every(48)), by_three, 64);
  }
}

inline void unpack_columns(Rows<BlockQ2_K> rows, const PlacesOf<BlockQ2_K>& to) {
  __m512i packed[4], factors[4];
  transpose_4([&](int r) { return rows[r]->scales; }, packed);
  for (int j = 0; j < 4; ++j) factors[j] = _mm512_and_si512(packed[j], every(15));
  fine_columns<form_of(static_cast<const BlockQ2_K*>(nullptr))>(factors, to);
  const __m512 d = gather_halves([&](int r) { return rows[r]->d; });
  const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(0.015625f));
  const __m512 min = gather_halves([&](int r) { return rows[r]->dmin; });
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    const __m512i mins = _mm512_and_si512(_mm512_srli_epi32(packed[b / 2], 4), every(15));
    const __m512i two = b % 2 == 0 ? mins : _mm512_srli_epi32(mins, 16);
    const __m512i second = _mm512_slli_epi32(byte_of(two, 1), 16);
    _mm512_store_si512(to[b].fine_min, _mm512_or_si512(byte_of(two, 0), second));
    _mm512_store_ps(to[b].scale, scale);
    _mm512_store_ps(to[b].min, min);
  }
  __m512i words[16];
  transpose_16([&](int r) { return _mm512_loadu_si512(rows[r]->q); }, words);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
#pragma GCC unroll 4
    for (int run = 0; run < 4; ++run) {
      _mm512_store_si512(to.q(k / 8 * 4 + run)[k % 8], _mm512_and_si512(words[k], every(3 << 2 * run)));
    }
  }
}

// Each 8 blocks of a row are one after another.
inline void unpack_columns(Rows<BlockQ8_0> rows, const PlacesOf<BlockQ8_0>& to) {
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    _mm512_store_ps(to[b].scale, gather_halves([&](int r) { return rows[r][b].d; }));
    __m512i words[8];
    transpose_8([&](int r) { return rows[r][b].q; }, words);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) _mm512_store_si512(to.q(b)[k], _mm512_xor_si512(words[k], every(0x80)));
  }
}

}  // namespace flashmoe::avx512
