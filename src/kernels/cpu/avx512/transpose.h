// 16 rows of words to columns, AVX-512: what a row has side by side comes to lie in the lanes of its own register.
#pragma once

#include "kernels/cpu/avx512/unpacked.h"

namespace flashmoe::avx512 {

// In each 128 bits: four registers of words 0 .. 3 to registers of word 0, 1, 2 and 3.
inline void transpose_lanes(const __m512i rows[4], __m512i to[4]) {
  const __m512i low_even = _mm512_unpacklo_epi32(rows[0], rows[1]), high_even = _mm512_unpackhi_epi32(rows[0], rows[1]);
  const __m512i low_odd = _mm512_unpacklo_epi32(rows[2], rows[3]), high_odd = _mm512_unpackhi_epi32(rows[2], rows[3]);
  to[0] = _mm512_unpacklo_epi64(low_even, low_odd);
  to[1] = _mm512_unpackhi_epi64(low_even, low_odd);
  to[2] = _mm512_unpacklo_epi64(high_even, high_odd);
  to[3] = _mm512_unpackhi_epi64(high_even, high_odd);
}

// load(r): 16 words of row r.
template <typename Load>
inline void transpose_16(const Load& load, __m512i to[16]) {
  __m512i b[16];  // b[4 i + k] lane l: column 4 l + k of rows 4 i .. 4 i + 3
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i rows[4] = {load(4 * i), load(4 * i + 1), load(4 * i + 2), load(4 * i + 3)};
    transpose_lanes(rows, b + 4 * i);
  }
#pragma GCC unroll 4
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

// at(r): 8 words of row r.
template <typename At>
inline void transpose_8(const At& at, __m512i to[8]) {
  __m512i b[8];  // b[4 i + k]: columns k and 4 + k of rows 8 i .. 8 i + 3, then of rows 8 i + 4 .. 8 i + 7
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    __m512i rows[4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) rows[t] = pair(load32(at(8 * i + t)), load32(at(8 * i + 4 + t)));
    transpose_lanes(rows, b + 4 * i);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    to[k] = _mm512_shuffle_i32x4(b[k], b[4 + k], 0x88);
    to[4 + k] = _mm512_shuffle_i32x4(b[k], b[4 + k], 0xdd);
  }
}

// at(r): 4 words of row r.
template <typename At>
inline void transpose_4(const At& at, __m512i to[4]) {
  __m512i rows[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    rows[t] = pair(pair(load16(at(t)), load16(at(4 + t))), pair(load16(at(8 + t)), load16(at(12 + t))));
  }
  transpose_lanes(rows, to);
}

}  // namespace flashmoe::avx512
