// Products of int8 activations with weights that were unpacked to bytes, 32 to a register, AVX2.
//
// VNNI adds four products of unsigned with signed bytes to 32 bits. Without it vpmaddubsw sums two in 16 bits with
// saturation, which is never met: |x| <= 127 and unsigned weights are at most 63, while signed weights go in as
// |w| <= 128 with their sign moved to x, and 2 * 128 * 127 < 2^15. A lane ends up with the dot product of 4 values.
// Formats with a minimum keep weights unsigned, and the minimum meets the sum of the activations.
#pragma once

#include "kernels/cpu/avx2/vec.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kSuperblock = 256;  // values

inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
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

// sum + w (unsigned) times x (signed), four to a lane.
#if defined(__AVXVNNI__)
inline constexpr bool kHasVnni = true;
inline __m256i add_fours(__m256i sum, __m256i w, __m256i x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__)
inline constexpr bool kHasVnni = true;
inline __m256i add_fours(__m256i sum, __m256i w, __m256i x) { return _mm256_dpbusd_epi32(sum, w, x); }
#else
inline constexpr bool kHasVnni = false;
inline __m256i add_fours(__m256i sum, __m256i w, __m256i x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
#endif

// 32 signed weights: bytes up to 128, and bytes whose signs they have.
struct SignedBytes {
  __m256i magnitude, sign;
};
inline SignedBytes signed_bytes_of(__m256i q) { return {_mm256_abs_epi8(q), q}; }

// Each byte of a word eight times.
inline __m256i eight_of_each(uint32_t bytes) {
  const __m256i places = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  return _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bytes)), places);
}
// 0xff in byte j where bit j is set.
inline __m256i bytes_of_bits(uint32_t bits) {
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  return _mm256_cmpeq_epi8(_mm256_and_si256(eight_of_each(bits), bit), bit);
}

}  // namespace flashmoe::FLASHMOE_ISA
