// Sums of products of weights with int8 activations, 8 weight rows in the lanes and four columns at a time.
//
// VNNI adds four products to 32 bits in one instruction. Without it vpmaddubsw leaves sums of two in 16 bits; those of
// several fours are added there while they fit, |x| <= 127, and meet their factor, 1 or that of 16 values, on the way
// to 32 bits. Both want one side unsigned: signed weights go in as |w| with their sign moved to x, or 128 too large.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"

namespace flashmoe::FLASHMOE_ISA {

// The bytes that a format's weights are unpacked to.
struct WeightBytes {
  int largest = 0;         // absolute value
  bool is_signed = false;  // else unsigned
  bool has_fine = false;   // every 16 of a row have a factor

  // VNNI: signed ones are 128 too large, and the sum is so much too large.
  constexpr bool needs_start() const { return kHasVnni && is_signed; }
  // Fours whose products are added before they meet a factor.
  constexpr int together() const {
    const int longest = has_fine ? 4 : 8;
    if (kHasVnni) return longest;
    const int most = 32767 / (2 * 127 * largest);
    return most >= longest ? longest : most >= 4 ? 4 : most >= 2 ? 2 : 1;
  }
};

// Four weights of each row.
template <WeightBytes kBytes>
class Fours {
 public:
  explicit Fours(__m256i q) : q_(q) {
    if constexpr (kBytes.is_signed) q_ = kHasVnni ? _mm256_xor_si256(q, _mm256_set1_epi8(-128)) : _mm256_abs_epi8(q);
    if constexpr (kBytes.is_signed && !kHasVnni) sign_ = q;
  }
  // Lanes of 32 bits with VNNI, else of 16.
  __m256i times(__m256i x) const {
    if constexpr (kHasVnni) return add_fours(_mm256_setzero_si256(), q_, x);
    return _mm256_maddubs_epi16(q_, kBytes.is_signed ? _mm256_sign_epi8(x, sign_) : x);
  }
  __m256i times(__m256i x, __m256i sum) const {
    if constexpr (kHasVnni) return add_fours(sum, q_, x);
    sum = _mm256_add_epi16(sum, times(x));
    asm("" : "+x"(sum));  // else compilers add up many products later, which the registers do not hold
    return sum;
  }

 private:
  __m256i q_, sign_;
};

// An unsigned byte of each word, as f32.
inline __m256 byte_of(__m256i words, int byte) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, 8 * byte), _mm256_set1_epi32(255)));
}

// Where the upper bytes of both 16-bit halves of four words come from.
struct SpreadPlaces {
  alignas(16) int8_t bytes[16];
};
consteval SpreadPlaces spread_places(int low, int high) {
  SpreadPlaces to = {};
  for (int word = 0; word < 4; ++word) {
    to.bytes[4 * word] = to.bytes[4 * word + 2] = -128;  // none
    to.bytes[4 * word + 1] = static_cast<int8_t>(4 * word + low);
    to.bytes[4 * word + 3] = static_cast<int8_t>(4 * word + high);
  }
  return to;
}
inline constexpr SpreadPlaces kSpreadOne[4] = {spread_places(0, 0), spread_places(1, 1), spread_places(2, 2),
                                               spread_places(3, 3)};
inline constexpr SpreadPlaces kSpreadTwo[2] = {spread_places(0, 1), spread_places(2, 3)};

// The sums of 16 values, as Fours leave them, times a 16-bit factor that both halves of a word have.
inline __m256i times_fine(__m256i sums, __m256i factors) {
  if constexpr (!kHasVnni) return _mm256_madd_epi16(sums, factors);
  return _mm256_mullo_epi32(sums, _mm256_srai_epi32(factors, 16));
}

// The signed factors of 16 values each of a superblock, four to a word.
struct FineFactors {
  __m256i words[4];

  // Of 16 values, twice; of both halves of a block, side by side.
  __m256i twice(int piece) const { return spread(words[piece / 4], kSpreadOne[piece % 4]); }
  __m256i pair(int block) const { return spread(words[block / 2], kSpreadTwo[block % 2]); }

 private:
  static __m256i spread(__m256i words, const SpreadPlaces& from) {
    return _mm256_srai_epi16(_mm256_shuffle_epi8(words, _mm256_broadcastsi128_si256(load16(from.bytes))), 8);
  }
};

}  // namespace flashmoe::FLASHMOE_ISA
