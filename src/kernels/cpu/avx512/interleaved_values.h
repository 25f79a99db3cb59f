// 256 values of each of 16 interleaved rows as the few-row products want them: bytes unpacked in registers, four values
// of each row at a time. As in panels (int8_gemm.h) a weight is scale * fine * (q - offset) - min * fine_min.
//
// InterleavedValues<Columns>: kTogether blocks of 32 come out of the same words; step s of 8 / kTogether has blocks
// block(s, i). fours(s, k, to): unsigned bytes 4 k .. 4 k + 3 of these blocks.
#pragma once

#include "kernels/cpu/avx512/interleaved.h"

namespace flashmoe::avx512 {

template <typename Columns>
struct InterleavedValues;

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockQ8_0, kAsks>> {
  using Columns = InterleavedColumns<BlockQ8_0, kAsks>;
  static constexpr int kTogether = 1;
  const Columns& of;

  explicit InterleavedValues(const Columns& columns) : of(columns) {}
  static constexpr int block(int step, int /*i*/) { return step; }
  static constexpr size_t at(int b) { return static_cast<size_t>(b) * sizeof(BlockQ8_0); }
  void fours(int step, int k, __m512i to[1]) const {
    to[0] = _mm512_xor_si512(of.word(at(step) + offsetof(BlockQ8_0, q) + 4 * static_cast<size_t>(k)), every(0x80));
  }
  __m512 scale(int b) const { return _mm512_cvtph_ps(of.halves(at(b) + offsetof(BlockQ8_0, d))); }
};

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockQ5_K, kAsks>> {
  using Columns = InterleavedColumns<BlockQ5_K, kAsks>;
  static constexpr int kTogether = 2;
  const Columns& of;
  SixBitScales scales;

  explicit InterleavedValues(const Columns& columns) : of(columns), scales(columns) {}
  static constexpr int block(int step, int i) { return 2 * step + i; }
  void fours(int step, int k, __m512i to[2]) const {
    const __m512i nibbles = of.word(offsetof(BlockQ5_K, q) + static_cast<size_t>(32 * step + 4 * k));
    const __m512i high = of.word(offsetof(BlockQ5_K, high) + static_cast<size_t>(4 * k));
    fours_q5_k(nibbles, high, 2 * step, to);
  }
  __m512 scale(int b) const { return scales.scale(b); }
  __m512 min(int b) const { return scales.min(b); }
};

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockQ6_K, kAsks>> {
  using Columns = InterleavedColumns<BlockQ6_K, kAsks>;
  static constexpr int kTogether = 2;
  const Columns& of;
  __m512 d;
  __m512i factors[4];

  explicit InterleavedValues(const Columns& columns)
      : of(columns), d(_mm512_cvtph_ps(columns.halves(offsetof(BlockQ6_K, d)))) {
    columns.words(offsetof(BlockQ6_K, scales), factors);
  }
  static constexpr int block(int step, int i) { return step / 2 * 4 + step % 2 + 2 * i; }
  void fours(int step, int k, __m512i to[2]) const {
    const int half = step / 2, run = step % 2;
    const __m512i nibbles = of.word(offsetof(BlockQ6_K, low) + static_cast<size_t>(64 * half + 32 * run + 4 * k));
    const __m512i bits = of.word(offsetof(BlockQ6_K, high) + static_cast<size_t>(32 * half + 4 * k));
    fours_q6_k(nibbles, bits, run, to);
  }
  __m512 scale(int /*b*/) const { return d; }
  __m512i fine(int b, int part) const {
    return fine_factor<form_of(static_cast<const BlockQ6_K*>(nullptr))>(factors, b, part);
  }
};

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockQ3_K, kAsks>> {
  using Columns = InterleavedColumns<BlockQ3_K, kAsks>;
  static constexpr int kTogether = 4;
  const Columns& of;
  __m512 d;
  __m512i factors[4];

  explicit InterleavedValues(const Columns& columns)
      : of(columns), d(_mm512_cvtph_ps(columns.halves(offsetof(BlockQ3_K, d))) * _mm512_set1_ps(0.0625f)) {
    factors_q3_k(columns, factors);
  }
  static constexpr int block(int step, int i) { return 4 * step + i; }
  void fours(int step, int k, __m512i to[4]) const {
    const __m512i pairs = of.word(offsetof(BlockQ3_K, q) + static_cast<size_t>(32 * step + 4 * k));
    fours_q3_k(pairs, of.word(offsetof(BlockQ3_K, high) + static_cast<size_t>(4 * k)), step, to);
  }
  __m512 scale(int /*b*/) const { return d; }
  __m512i fine(int b, int part) const {
    return fine_factor<form_of(static_cast<const BlockQ3_K*>(nullptr))>(factors, b, part);
  }
};

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockQ2_K, kAsks>> {
  using Columns = InterleavedColumns<BlockQ2_K, kAsks>;
  static constexpr int kTogether = 4;
  const Columns& of;
  __m512 d, dmin;
  __m512i packed[4], factors[4];

  explicit InterleavedValues(const Columns& columns)
      : of(columns),
        d(_mm512_cvtph_ps(columns.halves(offsetof(BlockQ2_K, d))) * _mm512_set1_ps(0.015625f)),
        dmin(_mm512_cvtph_ps(columns.halves(offsetof(BlockQ2_K, dmin)))) {
    columns.words(offsetof(BlockQ2_K, scales), packed);
    for (int j = 0; j < 4; ++j) factors[j] = _mm512_and_si512(packed[j], every(15));
  }
  static constexpr int block(int step, int i) { return 4 * step + i; }
  void fours(int step, int k, __m512i to[4]) const {
    const __m512i pairs = of.word(offsetof(BlockQ2_K, q) + static_cast<size_t>(32 * step + 4 * k));
#pragma GCC unroll 4
    for (int run = 0; run < 4; ++run) to[run] = _mm512_and_si512(pairs, every(3 << 2 * run));
  }
  __m512 scale(int /*b*/) const { return d; }
  __m512 min(int /*b*/) const { return dmin; }
  __m512i fine(int b, int part) const {
    return fine_factor<form_of(static_cast<const BlockQ2_K*>(nullptr))>(factors, b, part);
  }
  __m512i fine_min(int b) const { return fine_min_q2_k(packed, b); }
};

template <bool kAsks>
struct InterleavedValues<InterleavedColumns<BlockIQ4_XS, kAsks>> {
  using Columns = InterleavedColumns<BlockIQ4_XS, kAsks>;
  static constexpr int kTogether = 1;
  const Columns& of;
  ScalesIq4Xs scales;

  explicit InterleavedValues(const Columns& columns) : of(columns), scales(columns) {}
  static constexpr int block(int step, int /*i*/) { return step; }
  void fours(int step, int k, __m512i to[1]) const {
    const __m512i nibbles = of.word(offsetof(BlockIQ4_XS, q) + static_cast<size_t>(16 * step + 4 * (k % 4)));
    to[0] = k < 4 ? first_iq4(nibbles) : second_iq4(nibbles);
  }
  __m512 scale(int b) const { return scales.scale(b); }
};

}  // namespace flashmoe::avx512
