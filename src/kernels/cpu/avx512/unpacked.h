// What the int8 matmuls see of every format, AVX-512: 256 weights of a row as unsigned bytes, with their scales.
//
// vpdpbusd multiplies unsigned by signed bytes and sums fours, so weights are made unsigned by an offset that the
// format states, and the offset meets the sum of the activations in whole numbers. Inside a block of 32 values
// everything is whole and therefore exact in any order; floats begin at the block, of Kind::kWhole at 256 values.
#pragma once

#include "kernels/cpu/avx512/vec.h"

namespace flashmoe::avx512 {

inline constexpr int kSuperblock = 256;  // values unpacked at a time, of every format: 8 blocks of 32

// What a format has beside bytes and a scale for each 32 values.
enum class Kind {
  kPlain,
  kMinimum,      // a minimum for each 32, subtracted
  kFine,         // whole-numbered factors for each 16 values
  kFineMinimum,  // the same, and a whole-numbered minimum for each 16, which
                 // `min` scales
  kWhole,        // whole-numbered scales and minimums: whole_sums.h
};

// Which 16 values are in lane l (of 128 bits) of register g: those of `block` (of 8), its first or second half.
enum class Order {
  kStraight,    // block 2 g + l / 2
  kRuns,        // block g + 4 (l / 2)
  kHalves,      // block 4 (g / 2) + l: registers 2 k and 2 k + 1 have the halves of
                // the same blocks
  kEvenHalves,  // block 2 l + g / 2: likewise
  // Of the upright ones word k of all four registers is of the same 16 values, so that products add up in place and
  // no sum needs a shuffle:
  kPlanes,     // 16 k + g, 16 k + g + 4, + 8 and + 12
  kFours,      // 16 k + 4 g to 16 k + 4 g + 3
  kDiagonals,  // kRuns with what is in word k of register g there in word g of the same lane, of register (k - g) mod 4
};

// Which values are in byte 4 b + j of register 4 h + p where 512 are unpacked at a time, as codebooks are: of block b
// of 16 so that its sum comes to be in lane b. UnpackedPair.
enum class PairOrder {
  kNone,
  kEights,          // 8 j + 4 h + p
  kEightsInHalves,  // 16 h + 8 (j mod 2) + 4 (j / 2) + p: a sum of each 16, in two registers
  kFours,           // 16 h + 4 j + p
};

struct Form {
  Kind kind = Kind::kPlain;
  int offset = 0;  // a weight is q - offset, 0..255
  Order order = Order::kStraight;
  // Register g (kDiagonals: word g of each lane) holds q << steps[g], and the scales are divided by 1 << steps[3]: bits
  // need not be moved to where they are all worth the same. For fine forms only.
  int steps[4] = {0, 0, 0, 0};
  PairOrder pairs = PairOrder::kNone;

  constexpr bool is_whole() const { return kind == Kind::kWhole; }
  constexpr bool has_minimum() const { return kind == Kind::kMinimum; }
  constexpr bool has_fine() const { return kind == Kind::kFine || kind == Kind::kFineMinimum; }
  constexpr bool has_fine_minimum() const { return kind == Kind::kFineMinimum; }
  constexpr bool is_halved() const { return order == Order::kHalves || order == Order::kEvenHalves; }
  constexpr bool has_planes() const { return order == Order::kPlanes; }
  constexpr bool is_in_order() const { return order == Order::kPlanes || order == Order::kFours; }  // word k: piece k
  constexpr bool is_upright() const { return is_in_order() || order == Order::kDiagonals; }
  // The 16 values in lane l of register g: piece 2 b of the 16 is the first half of block b.
  constexpr int piece(int g, int l) const {
    return order == Order::kStraight                             ? 4 * g + l
           : order == Order::kRuns || order == Order::kDiagonals ? 2 * (g + l / 2 * 4) + l % 2
           : order == Order::kHalves                             ? 2 * (g / 2 * 4 + l) + g % 2
                                                                 : 2 * (2 * l + g / 2) + g % 2;
  }
  // The 16 values, and which four of them, in word k of register g.
  constexpr int piece_of_word(int g, int k) const { return is_upright() ? piece_of_sum(k) : piece(g, k / 4); }
  constexpr int four_of_word(int g, int k) const {
    return is_in_order() ? g : order == Order::kDiagonals ? (g + k) % 4 : k % 4;
  }
  // The value of its block of 32 in byte 4 b + j of register r of 8.
  constexpr int value_of_pair(int r, int j) const {
    const int h = r / 4, p = r % 4;
    return p + (pairs == PairOrder::kEights  ? 8 * j + 4 * h
                : pairs == PairOrder::kFours ? 16 * h + 4 * j
                                             : 16 * h + j % 2 * 8 + j / 2 * 4);
  }
  // The 16 values whose sum comes to be in lane k: block_sums.h.
  constexpr int piece_of_sum(int k) const { return is_in_order() ? k : piece(k % 4, k / 4); }
};

// 256 weights: scale * fine * (q - offset) - min * fine_min, without the parts that the form does not have.
struct Unpacked {
  __m512i q[4];      // [256] unsigned bytes
  __m256 scale;      // [8]
  __m256 min;        // [8]
  __m128i fine;      // [16] signed bytes
  __m128i fine_min;  // [16] bytes up to 127
};

// 512 weights, in the form's PairOrder: scale * (q - offset), or scale * fine[h] * (q - offset) of half h of a block.
struct UnpackedPair {
  __m512i q[8];     // [512] unsigned bytes
  __m512 scale;     // [16]
  __m512i fine[2];  // [16] of first and second halves
};

inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m512i pair(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }
inline __m256i pair(__m128i low, __m128i high) { return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1); }
inline __m256 half_everywhere(const uint8_t* p) {
  int16_t half;
  __builtin_memcpy(&half, p, sizeof(half));
  return _mm256_cvtph_ps(_mm_set1_epi16(half));
}
// Two f16 that are side by side, each in all lanes.
struct TwoHalves {
  __m256 first, second;
  explicit TwoHalves(const uint8_t* p) {
    int32_t both;
    __builtin_memcpy(&both, p, sizeof(both));
    const __m256 in_turn = _mm256_cvtph_ps(_mm_set1_epi32(both));
    first = _mm256_moveldup_ps(in_turn);
    second = _mm256_movehdup_ps(in_turn);
  }
};
inline uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}
inline uint64_t long_at(const uint8_t* p) {
  uint64_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}
inline __m128i eight_bytes(uint64_t bytes) { return _mm_cvtsi64_si128(static_cast<long long>(bytes)); }
inline __m128i sixteen_bytes(uint64_t low, uint64_t high) {
  return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
}

}  // namespace flashmoe::avx512
