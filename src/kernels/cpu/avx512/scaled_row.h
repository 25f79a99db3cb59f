// Rows with scales kept apart as a source of weights for the int8 matmuls, AVX-512: see block_row.h.
#pragma once

#include "kernels/cpu/avx512/unpack_32.h"
#include "memory/view.h"
#include "quant/affine.h"
#include "quant/mxfp4_split.h"

namespace flashmoe::avx512 {

// The first n bytes, the others zero.
inline __m512i first_bytes(const std::byte* p, int64_t n) {
  return _mm512_maskz_loadu_epi8(n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1, p);
}

// The scales of each 32 values, where some share one.
class GroupScales {
 public:
  GroupScales(ScaleType type, int32_t group_cols)
      : type_(type),
        shift_(__builtin_ctz(static_cast<unsigned>(group_cols)) - 5),
        spread_(_mm256_srl_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm_cvtsi32_si128(shift_))),
        // To the upper half of each word, the bytes of its bf16.
        bytes_(_mm256_add_epi8(_mm256_slli_epi32(_mm256_mullo_epi32(spread_, _mm256_set1_epi32(0x0202)), 16),
                               _mm256_set1_epi32(0x01000000))) {}

  // Of n blocks of 32 from value 256 s on; the others are of no meaning.
  __m256 load(const std::byte* scales, int64_t s, int n) const {
    const int n_scales = (n + (1 << shift_) - 1) >> shift_;
    const std::byte* from = scales + (8 * s >> shift_) * scale_bytes(type_);
    const auto there = static_cast<__mmask8>((1 << n_scales) - 1);
    if (type_ == ScaleType::f32) return _mm256_permutevar8x32_ps(_mm256_maskz_loadu_ps(there, from), spread_);
    const __m128i halves = _mm_maskz_loadu_epi16(there, from);
    if (type_ == ScaleType::f16) return _mm256_permutevar8x32_ps(_mm256_cvtph_ps(halves), spread_);
    return _mm256_castsi256_ps(_mm256_maskz_permutexvar_epi8(0xcccccccc, bytes_, _mm256_castsi128_si256(halves)));
  }

 private:
  ScaleType type_;
  int shift_;  // 1 << shift_ blocks of 32 share a scale
  __m256i spread_, bytes_;
};

// For vpermb: the kBits bytes of each 8 values to the front of 8 bytes; for vpmultishiftqb: each value to its byte.
template <int kBits>
struct Spread {
  alignas(64) uint8_t bytes[64];
  alignas(64) uint8_t shifts[64];
};
template <int kBits>
consteval Spread<kBits> spread_of() {
  Spread<kBits> spread = {};
  for (int j = 0; j < 64; ++j) {
    spread.bytes[j] = static_cast<uint8_t>(j % 8 < kBits ? j / 8 * kBits + j % 8 : 0);
    spread.shifts[j] = static_cast<uint8_t>(j % 8 * kBits);
  }
  return spread;
}

// Pairs of bits, to planes: those of plane p are at bit 2 p of the bytes.
inline void unpack_pairs(const std::byte* from, int n, __m512i q[4]) {
  const __m512i packed = first_bytes(from, n * 8);
  q[0] = _mm512_and_si512(packed, _mm512_set1_epi8(3));
  q[1] = _mm512_and_si512(_mm512_srli_epi16(packed, 2), _mm512_set1_epi8(3));
  q[2] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), _mm512_set1_epi8(3));
  q[3] = _mm512_and_si512(_mm512_srli_epi16(packed, 6), _mm512_set1_epi8(3));
}

// Threes of bits, to fours: each 16 values are 6 bytes, and four of them end within two bytes. For vpermi2b out of two
// registers that hold bytes 0 to 63 and 32 to 95, and vpmultishiftqb.
struct SpreadFours {
  alignas(64) uint8_t bytes[4][64];
  alignas(64) uint8_t shifts[4][64];
};
consteval SpreadFours spread_of_threes() {
  SpreadFours spread = {};
  for (int g = 0; g < 4; ++g) {
    for (int j = 0; j < 64; ++j) {
      // Bytes 0, 1 of each four, of words 2 i and 2 i + 1, become bytes 0 to 3 of 8.
      const int word = j / 8 * 2 + j % 4 / 2, byte = 6 * word + 3 * g / 2 + j % 2;
      spread.bytes[g][j] = static_cast<uint8_t>(j % 8 >= 4 ? 0 : byte < 64 ? byte : byte + 32);
      spread.shifts[g][j] = static_cast<uint8_t>(j % 8 / 4 * 16 + 12 * g % 8 + j % 4 * 3);
    }
  }
  return spread;
}
inline void unpack_threes(const std::byte* from, int n, __m512i q[4]) {
  static constexpr SpreadFours kSpread = spread_of_threes();
  const int n_bytes = n * 12;
  const __m512i front = first_bytes(from, n_bytes);
  const __m512i back = n_bytes > 32 ? first_bytes(from + 32, n_bytes - 32) : _mm512_setzero_si512();
  for (int g = 0; g < 4; ++g) {
    const __m512i words = _mm512_permutex2var_epi8(front, _mm512_load_si512(kSpread.bytes[g]), back);
    const __m512i values = _mm512_multishift_epi64_epi8(_mm512_load_si512(kSpread.shifts[g]), words);
    q[g] = _mm512_and_si512(values, _mm512_set1_epi8(7));
  }
}

// 256 values of which the first 32 n are there.
template <int kBits>
inline void unpack_quants(const std::byte* from, int n, __m512i q[4]) {
  static constexpr Spread<kBits> kSpread = spread_of<kBits>();
  for (int g = 0; g < 4; ++g) {
    const int64_t n_bytes = (n - 2 * g < 2 ? n - 2 * g : 2) * 4 * kBits;
    const __m512i packed = n_bytes > 0 ? first_bytes(from + g * 8 * kBits, n_bytes) : _mm512_setzero_si512();
    if constexpr (kBits == 8) {
      q[g] = packed;
    } else {
      const __m512i words = _mm512_permutexvar_epi8(_mm512_load_si512(kSpread.bytes), packed);
      const __m512i values = _mm512_multishift_epi64_epi8(_mm512_load_si512(kSpread.shifts), words);
      q[g] = _mm512_and_si512(values, _mm512_set1_epi8(static_cast<char>((1 << kBits) - 1)));
    }
  }
}

// Nibbles of neighbours in a byte, to halves of blocks.
inline void unpack_neighbours(const std::byte* from, int n, __m512i q[4]) {
  for (int half = 0; half < 2; ++half) {
    const int64_t n_bytes = (n - 4 * half < 4 ? n - 4 * half : 4) * 16;
    const __m512i both = n_bytes > 0 ? first_bytes(from + 64 * half, n_bytes) : _mm512_setzero_si512();
    const __m512i even = _mm512_and_si512(both, _mm512_set1_epi8(15));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
    q[2 * half] = _mm512_unpacklo_epi8(even, odd);
    q[2 * half + 1] = _mm512_unpackhi_epi8(even, odd);
  }
}

// What both sources share: where a row and its scales are. Groups are along a row, and of 32, 64 or 128.
template <int kBits>
class ScaledRow {
 public:
  static constexpr bool kMayEndEarly = true;

  static constexpr int64_t row_bytes(int64_t cols) { return cols / 8 * kBits; }
  const char* data() const { return reinterpret_cast<const char*>(quants_); }

  // Asks the caches for the same values of the row that is n_rows further on, and with the first of them for its
  // scales.
  void prefetch(int64_t s, int64_t n_rows) const {
    const auto ask = [](const std::byte* from, int64_t n_bytes) {
      for (int64_t at = 0; at < n_bytes; at += 64) _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T0);
    };
    ask(quants(s) + n_rows * row_bytes_, kBytes);
    if (s != 0) return;
    ask(scales_ + n_rows * scale_bytes_, scale_bytes_);
    if (biases_ != nullptr) ask(biases_ + n_rows * scale_bytes_, scale_bytes_);
  }

 protected:
  static constexpr int kBytes = kSuperblock / 8 * kBits;

  ScaledRow(const MatrixView& w, int64_t row)
      : row_bytes_(row_bytes(w.cols)),
        scale_bytes_((w.cols >> __builtin_ctz(static_cast<unsigned>(w.grid.group_cols))) * scale_bytes(w.grid.type)),
        quants_(w.data + row * row_bytes_),
        scales_(w.scales + row * scale_bytes_),
        biases_(w.biases == nullptr ? nullptr : w.biases + row * scale_bytes_) {}

  const std::byte* quants(int64_t s) const { return quants_ + s * kBytes; }

  int64_t row_bytes_, scale_bytes_;  // of a row
  const std::byte *quants_, *scales_, *biases_;
};

template <int kBits>
class AffineRow : public ScaledRow<kBits> {
 public:
  static constexpr Form kForm = {Kind::kMinimum, 0,
                                 kBits == 2   ? Order::kPlanes
                                 : kBits == 3 ? Order::kFours
                                 : kBits == 4 ? Order::kHalves
                                              : Order::kStraight};

  AffineRow(const MatrixView& w, int64_t row) : ScaledRow<kBits>(w, row), groups_(w.grid.type, w.grid.group_cols) {}

  Unpacked values(int64_t s) const { return first_values(s, 8); }
  Unpacked first_values(int64_t s, int n) const {
    Unpacked to = {};
    const auto there = static_cast<__mmask8>((1u << n) - 1);
    to.scale = _mm256_maskz_mov_ps(there, groups_.load(this->scales_, s, n));
    // The minimum is subtracted, the bias added.
    to.min = _mm256_maskz_sub_ps(there, _mm256_setzero_ps(), groups_.load(this->biases_, s, n));
    if constexpr (kBits == 2) {
      unpack_pairs(this->quants(s), n, to.q);
    } else if constexpr (kBits == 3) {
      unpack_threes(this->quants(s), n, to.q);
    } else if constexpr (kBits == 4) {
      unpack_neighbours(this->quants(s), n, to.q);
    } else {
      unpack_quants<kBits>(this->quants(s), n, to.q);
    }
    return to;
  }

 private:
  GroupScales groups_;
};

class Mxfp4SplitRow : public ScaledRow<4> {
 public:
  static constexpr Form kForm = {Kind::kPlain, 128, Order::kHalves};

  Mxfp4SplitRow(const MatrixView& w, int64_t row) : ScaledRow<4>(w, row) {}

  Unpacked values(int64_t s) const { return first_values(s, 8); }
  Unpacked first_values(int64_t s, int n) const {
    Unpacked to = {};
    const auto there = static_cast<__mmask16>((1u << n) - 1);
    const __m256i e = _mm256_cvtepu8_epi32(_mm_maskz_loadu_epi8(there, scales_ + 8 * s));
    to.scale = _mm256_maskz_mov_ps(static_cast<__mmask8>(there), half_powers(e));
    unpack_neighbours(quants(s), n, to.q);
    look_up_levels(kMxfp4Levels, to.q);
    return to;
  }
};

}  // namespace flashmoe::avx512
