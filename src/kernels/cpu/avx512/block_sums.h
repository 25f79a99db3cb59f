// Whole-numbered sums over blocks of activations, the same in matrix-vector and in matrix-matrix products, AVX-512.
#pragma once

#include "kernels/cpu/avx512/unpacked.h"
#include "kernels/kernels.h"

namespace flashmoe::avx512 {

inline constexpr int64_t kMaxCols = 32768;  // what is kept of 4 rows is on the stack

// A register of constants that are worked out by the compiler.
struct Lanes {
  alignas(64) int32_t values[16];
  operator __m512i() const { return _mm512_load_si512(values); }
};
struct Bytes {
  alignas(16) int8_t values[16];
  operator __m128i() const { return _mm_load_si128(reinterpret_cast<const __m128i*>(values)); }
};

// Sums of 16 values come in lanes 4 l + g (Form::piece), those of planes and fours in order.
consteval Bytes piece_of_lane(Form form) {
  Bytes bytes = {};
  for (int k = 0; k < 16; ++k) bytes.values[k] = static_cast<int8_t>(form.piece_of_sum(k));
  return bytes;
}
consteval Lanes lane_of_piece(Form form) {
  Lanes lanes = {};
  for (int k = 0; k < 16; ++k) lanes.values[form.piece_of_sum(k)] = k;
  return lanes;
}
// The halves of each block's sum, the first halves in lanes 0..7.
consteval Lanes halves_of_blocks(Form form) {
  Lanes lanes = {};
  for (int k = 0; k < 16; ++k) {
    const int piece = form.piece_of_sum(k);
    // Halved: the pair of registers 2 a, 2 a + 1 leaves two sums for a block, in lanes 4 l + 2 a and the next.
    lanes.values[piece / 2 + piece % 2 * 8] = k;
  }
  return lanes;
}
consteval Lanes fine_shifts(Form form) {
  Lanes lanes = {};
  for (int k = 0; k < 16; ++k) lanes.values[k] = form.steps[3] - form.steps[k % 4];
  return lanes;
}

inline __m512i add_halves(__m512i a, __m512i b) {
  return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

// Dot products of four registers; `w` are unsigned bytes. A lane: sums of 16 values, or of halved forms two for a
// block. Upright forms add to `before`.
template <Form kForm>
inline __m512i lane_sums(const __m512i w[4], const int8_t* x, __m512i before = _mm512_setzero_si512()) {
  __m512i dots[4];
  for (int g = 0; g < 4; ++g) {
    const bool goes_on = kForm.is_upright() ? g > 0 : kForm.is_halved() && g % 2 == 1;
    const __m512i start = goes_on ? dots[g - 1] : kForm.is_upright() ? before : _mm512_setzero_si512();
    dots[g] = _mm512_dpbusd_epi32(start, w[g], _mm512_loadu_si512(x + 64 * g));
  }
  if constexpr (kForm.is_upright()) return dots[3];
  if constexpr (kForm.is_halved()) return add_halves(dots[1], dots[3]);
  const auto halve = [](__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  };
  return add_halves(halve(dots[0], dots[1]), halve(dots[2], dots[3]));
}
// The fine factors of 16 groups in the order of those lanes.
template <Form kForm>
inline __m512i fine_lanes(__m128i of_groups) {
  static constexpr Bytes kPieces = piece_of_lane(kForm);
  static constexpr Lanes kShifts = fine_shifts(kForm);
  if constexpr (kForm.is_in_order()) return _mm512_cvtepi8_epi32(of_groups);
  const __m512i factors = _mm512_cvtepi8_epi32(_mm_shuffle_epi8(of_groups, kPieces));
  return kForm.steps[3] == 0 ? factors : _mm512_sllv_epi32(factors, kShifts);
}
// Sums of the 8 blocks, in order.
template <Form kForm>
inline __m256i block_sums(__m512i lanes) {
  static constexpr Lanes kHalves = halves_of_blocks(kForm);
  const __m512i paired = _mm512_permutexvar_epi32(kHalves, lanes);
  return _mm256_add_epi32(_mm512_castsi512_si256(paired), _mm512_extracti64x4_epi64(paired, 1));
}

// What a form needs of the activations alone, for each 256 values: the offset times their sums (of 8 blocks, or for
// fine and upright forms of 16 values in lanes), or the sums of 16 values in 16 bits. Of upright forms they are
// negative: what the products are added to.
constexpr bool needs_sums(Form form) { return form.offset != 0 || form.has_fine_minimum(); }
constexpr bool sums_are_in_lanes(Form form) { return form.offset != 0 && (form.has_fine() || form.is_upright()); }
constexpr int sums_per_superblock(Form form) { return !needs_sums(form) ? 0 : sums_are_in_lanes(form) ? 16 : 8; }

template <Form kForm>
inline void store_sums(const int8_t* q8, int32_t* to) {
  static_assert(!kForm.has_fine_minimum() || kForm.offset == 0);
  __m512i factors[4];
  for (int g = 0; g < 4; ++g) {
    const int factor = kForm.has_fine_minimum() ? 1 : kForm.offset << kForm.steps[g];
    factors[g] = _mm512_set1_epi8(static_cast<char>(factor));
  }
  const __m512i lanes = lane_sums<kForm>(factors, q8);
  if constexpr (kForm.has_fine_minimum()) {
    static constexpr Lanes kLanes16 = lane_of_piece(kForm);
    const __m256i totals = _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(kLanes16, lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), totals);
  } else if constexpr (kForm.is_upright()) {
    _mm512_storeu_si512(to, _mm512_sub_epi32(_mm512_setzero_si512(), lanes));
  } else if constexpr (kForm.has_fine()) {
    _mm512_storeu_si512(to, lanes);
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), block_sums<kForm>(lanes));
  }
}

// Each 16 values as four planes of four: in the order in which panels have them (int8_gemm.h).
inline __m512i in_planes(__m512i values) {
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_shuffle_epi8(values, _mm512_broadcast_i32x4(order));
}

// Which of the 32 words of its half of the values is in each word of register g, of upright forms.
consteval Lanes words_of(Form form, int g) {
  Lanes lanes = {};
  for (int k = 0; k < 16; ++k) lanes.values[k] = (4 * form.piece_of_word(g, k) + form.four_of_word(g, k)) % 32;
  return lanes;
}

// 8 blocks of activations in the order of a form.
template <Form kForm>
inline void copy_whole(const int8_t* q8, int8_t* to) {
  const auto load = [q8](int g) { return _mm512_loadu_si512(q8 + 64 * g); };
  const auto store = [to](int g, __m512i values) { _mm512_store_si512(to + 64 * g, values); };
  if constexpr (kForm.order == Order::kStraight) {
    for (int g = 0; g < 4; ++g) store(g, load(g));
  } else if constexpr (kForm.order == Order::kRuns) {
    for (int g = 0; g < 4; ++g) store(g, pair(load32(q8 + 32 * g), load32(q8 + 32 * g + 128)));
  } else if constexpr (kForm.is_upright()) {
    const auto part = [&](int g) { return kForm.has_planes() ? in_planes(load(g)) : load(g); };
    static constexpr Lanes kWords[4] = {words_of(kForm, 0), words_of(kForm, 1), words_of(kForm, 2), words_of(kForm, 3)};
    for (int g = 0; g < 4; ++g) {
      const __m512i low = _mm512_permutex2var_epi32(part(0), kWords[g], part(1));
      const __m512i high = _mm512_permutex2var_epi32(part(2), kWords[g], part(3));
      store(g, _mm512_mask_blend_epi32(0xff00, low, high));
    }
  } else {
    for (int part = 0; part < 2; ++part) {  // first halves of blocks, then second halves
      const __m512i low =
          part == 0 ? _mm512_shuffle_i64x2(load(0), load(1), 0x88) : _mm512_shuffle_i64x2(load(0), load(1), 0xdd);
      const __m512i high =
          part == 0 ? _mm512_shuffle_i64x2(load(2), load(3), 0x88) : _mm512_shuffle_i64x2(load(2), load(3), 0xdd);
      const bool is_even = kForm.order == Order::kEvenHalves;
      store(part, is_even ? _mm512_shuffle_i64x2(low, high, 0x88) : low);
      store(2 + part, is_even ? _mm512_shuffle_i64x2(low, high, 0xdd) : high);
    }
  }
}
// The same of n <= 8 blocks, and zeros.
template <Form kForm>
inline void copy_values(const int8_t* q8, int n, int8_t* to) {
  if (n == 8) return copy_whole<kForm>(q8, to);
  alignas(64) int8_t padded[kSuperblock] = {};
  __builtin_memcpy(padded, q8, static_cast<size_t>(n * kActivationBlock));
  copy_whole<kForm>(padded, to);
}
inline __m256 first_floats(const float* from, int n) {
  return _mm256_maskz_loadu_ps(static_cast<__mmask8>((1 << n) - 1), from);
}

}  // namespace flashmoe::avx512
