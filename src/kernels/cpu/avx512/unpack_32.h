// The formats of 32 values unpacked to bytes, eight blocks at a time, AVX-512.
#pragma once

#include "kernels/cpu/avx512/unpacked.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"

namespace flashmoe::avx512 {

constexpr Form form_of(const BlockQ8_0*) { return {Kind::kPlain, 128}; }
constexpr Form form_of(const BlockQ4_0*) { return {Kind::kPlain, 8, Order::kHalves}; }
constexpr Form form_of(const BlockQ5_0*) { return {Kind::kPlain, 16, Order::kHalves}; }
constexpr Form form_of(const BlockIQ4_NL*) { return {Kind::kPlain, 128, Order::kHalves}; }
constexpr Form form_of(const BlockMXFP4*) { return {Kind::kPlain, 128, Order::kHalves}; }
constexpr Form form_of(const BlockQ4_1*) { return {Kind::kMinimum, 0, Order::kHalves}; }
constexpr Form form_of(const BlockQ5_1*) { return {Kind::kMinimum, 0, Order::kHalves}; }

// Four blocks in two registers, which overlap or meet; vpermi2b picks bytes out of them.
template <typename Block>
struct FourBlocks {
  static_assert(4 * sizeof(Block) >= 64 && 4 * sizeof(Block) <= 128);
  __m512i front, back;

  explicit FourBlocks(const Block* blocks)
      : front(_mm512_loadu_si512(blocks)), back(_mm512_loadu_si512(reinterpret_cast<const char*>(blocks + 4) - 64)) {}
  // Where byte `offset` of the four blocks is.
  static constexpr uint8_t index(size_t offset) {
    return static_cast<uint8_t>(offset < 64 ? offset : offset - (4 * sizeof(Block) - 64) + 64);
  }
  __m512i pick(__m512i from) const { return _mm512_permutex2var_epi8(front, from, back); }
  __m128i pick_16(__m512i from) const { return _mm512_castsi512_si128(pick(from)); }
};

// For vpermi2b: n_each bytes from `at` of each of four blocks, each `copies` times over; the rest is byte 0.
struct BytePlaces {
  alignas(64) uint8_t from[64];
  operator __m512i() const { return _mm512_load_si512(from); }
};
template <typename Block>
consteval BytePlaces of_four_blocks(size_t at, size_t n_each, size_t copies = 1) {
  BytePlaces places = {};
  for (size_t j = 0; j < 4 * n_each * copies; ++j) {
    const size_t block = j / (n_each * copies), byte = j % (n_each * copies) / copies;
    places.from[j] = FourBlocks<Block>::index(block * sizeof(Block) + at + byte);
  }
  return places;
}

// Nibbles of eight blocks as Order::kHalves has them, and a scale for each.
template <typename Block>
struct NibbleBlocks {
  FourBlocks<Block> fours[2];
  explicit NibbleBlocks(const Block* blocks) : fours{FourBlocks(blocks), FourBlocks(blocks + 4)} {}

  void unpack_nibbles(__m512i q[4]) const {
    static constexpr BytePlaces kQ = of_four_blocks<Block>(offsetof(Block, q), 16);
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int half = 0; half < 2; ++half) {
      const __m512i both = fours[half].pick(kQ);
      q[2 * half] = _mm512_and_si512(both, nibble);
      q[2 * half + 1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
    }
  }
  void add_fifth_bits(__m512i q[4]) const {
    for (int half = 0; half < 2; ++half) {
      static constexpr BytePlaces kFirst = of_four_blocks<Block>(offsetof(Block, high), 2, 8);
      static constexpr BytePlaces kSecond = of_four_blocks<Block>(offsetof(Block, high) + 2, 2, 8);
      const __m512i bits = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201));
      const __mmask64 first = _mm512_test_epi8_mask(fours[half].pick(kFirst), bits);
      const __mmask64 second = _mm512_test_epi8_mask(fours[half].pick(kSecond), bits);
      q[2 * half] = _mm512_mask_add_epi8(q[2 * half], first, q[2 * half], _mm512_set1_epi8(16));
      q[2 * half + 1] = _mm512_mask_add_epi8(q[2 * half + 1], second, q[2 * half + 1], _mm512_set1_epi8(16));
    }
  }
  // The f16 at byte kAt of each block.
  template <size_t kAt>
  __m256 halves() const {
    static constexpr BytePlaces kPlaces = of_four_blocks<Block>(kAt, 2);
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(fours[0].pick_16(kPlaces), fours[1].pick_16(kPlaces)));
  }
  // The byte at kAt of each block.
  template <size_t kAt>
  __m256i bytes() const {
    static constexpr BytePlaces kPlaces = of_four_blocks<Block>(kAt, 1);
    return _mm256_cvtepu8_epi32(_mm_unpacklo_epi32(fours[0].pick_16(kPlaces), fours[1].pick_16(kPlaces)));
  }
};

inline __m512i moved_levels(const int8_t levels[16]) {
  return _mm512_xor_si512(_mm512_broadcast_i32x4(load16(levels)), _mm512_set1_epi8(-128));
}
inline void look_up_levels(const int8_t levels[16], __m512i q[4]) {
  for (int g = 0; g < 4; ++g) q[g] = _mm512_shuffle_epi8(moved_levels(levels), q[g]);
}

inline Unpacked unpack(const BlockQ8_0* blocks) {
  Unpacked to = {};
  const auto d = [=](int b) {
    int16_t bits;
    __builtin_memcpy(&bits, blocks[b].d, sizeof(bits));
    return bits;
  };
  to.scale = _mm256_cvtph_ps(_mm_setr_epi16(d(0), d(1), d(2), d(3), d(4), d(5), d(6), d(7)));
  for (int g = 0; g < 4; ++g) {
    const __m512i q = pair(load32(blocks[2 * g].q), load32(blocks[2 * g + 1].q));
    to.q[g] = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
  }
  return to;
}

inline Unpacked unpack(const BlockQ4_0* blocks) {
  const NibbleBlocks<BlockQ4_0> eight(blocks);
  Unpacked to = {};
  to.scale = eight.halves<offsetof(BlockQ4_0, d)>();
  eight.unpack_nibbles(to.q);
  return to;
}

inline Unpacked unpack(const BlockQ5_0* blocks) {
  const NibbleBlocks<BlockQ5_0> eight(blocks);
  Unpacked to = {};
  to.scale = eight.halves<offsetof(BlockQ5_0, d)>();
  eight.unpack_nibbles(to.q);
  eight.add_fifth_bits(to.q);
  return to;
}

inline Unpacked unpack(const BlockIQ4_NL* blocks) {
  const NibbleBlocks<BlockIQ4_NL> eight(blocks);
  Unpacked to = {};
  to.scale = eight.halves<offsetof(BlockIQ4_NL, d)>();
  eight.unpack_nibbles(to.q);
  look_up_levels(kIq4Levels, to.q);
  return to;
}

// half_e8m0 of eight exponents.
inline __m256 half_powers(__m256i e) {
  const __m256i one = _mm256_set1_epi32(1), normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
  const __mmask8 subnormal = _mm256_cmple_epu32_mask(e, one);
  return _mm256_castsi256_ps(_mm256_mask_sllv_epi32(normal, subnormal, _mm256_set1_epi32(0x00200000), e));
}

// Of sixteen.
inline __m512 half_powers(__m512i e) {
  const __m512i one = _mm512_set1_epi32(1), normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
  const __mmask16 subnormal = _mm512_cmple_epu32_mask(e, one);
  return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, subnormal, _mm512_set1_epi32(0x00200000), e));
}

inline Unpacked unpack(const BlockMXFP4* blocks) {
  const NibbleBlocks<BlockMXFP4> eight(blocks);
  Unpacked to = {};
  to.scale = half_powers(eight.bytes<offsetof(BlockMXFP4, e)>());
  eight.unpack_nibbles(to.q);
  look_up_levels(kMxfp4Levels, to.q);
  return to;
}

// The minimum of these is added.
inline __m256 negated(__m256 x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }

inline Unpacked unpack(const BlockQ4_1* blocks) {
  const NibbleBlocks<BlockQ4_1> eight(blocks);
  Unpacked to = {};
  to.scale = eight.halves<offsetof(BlockQ4_1, d)>();
  to.min = negated(eight.halves<offsetof(BlockQ4_1, m)>());
  eight.unpack_nibbles(to.q);
  return to;
}

inline Unpacked unpack(const BlockQ5_1* blocks) {
  const NibbleBlocks<BlockQ5_1> eight(blocks);
  Unpacked to = {};
  to.scale = eight.halves<offsetof(BlockQ5_1, d)>();
  to.min = negated(eight.halves<offsetof(BlockQ5_1, m)>());
  eight.unpack_nibbles(to.q);
  eight.add_fifth_bits(to.q);
  return to;
}

}  // namespace flashmoe::avx512
