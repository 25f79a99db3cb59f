// Dots (vector/matmul.h) on int8 activations of formats with scales kept apart, AVX2.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "kernels/kernels.h"
#include "quant/affine.h"
#include "quant/mxfp4_split.h"

namespace flashmoe::FLASHMOE_ISA {

// Nibbles of neighbours in a byte.
inline __m256i neighbours(const std::byte* block) {
  const __m128i both = load16(block), nibble = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(both, nibble), odd = _mm_and_si128(_mm_srli_epi16(both, 4), nibble);
  return _mm256_setr_m128i(_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd));
}

// Where 16 quants of kBits are in the 16 bytes at hand, from byte `start` on: for eight of them, the two bytes that a
// quant is in, and the factor that moves it to the upper one.
struct QuantPlaces {
  alignas(16) uint8_t bytes[2][16];
  alignas(16) uint16_t factors[2][8];
};
consteval QuantPlaces places_of_quants(int bits, int start) {
  QuantPlaces places = {};
  for (int j = 0; j < 16; ++j) {
    const int first = start + j * bits / 8;
    places.bytes[j / 8][j % 8 * 2] = static_cast<uint8_t>(first);
    places.bytes[j / 8][j % 8 * 2 + 1] = static_cast<uint8_t>(first < 15 ? first + 1 : 0x80);
    places.factors[j / 8][j % 8] = static_cast<uint16_t>(1 << (8 - j * bits % 8));
  }
  return places;
}

inline __m256i both_lanes(const void* low, const void* high) { return _mm256_setr_m128i(load16(low), load16(high)); }

// The 32 quants of a block, as unsigned bytes. Reads nothing beyond it.
template <int kBits>
inline __m256i affine_quants(const std::byte* block) {
  if constexpr (kBits == 8) {
    return load32(block);
  } else if constexpr (kBits == 4) {
    return neighbours(block);
  } else {
    // The second half's quants begin in the middle; it is loaded so that it ends with the block.
    constexpr int kHalf = 2 * kBits, kBytes = 2 * kHalf;
    static constexpr QuantPlaces kLow = places_of_quants(kBits, 0);
    static constexpr QuantPlaces kHigh = places_of_quants(kBits, kBytes < 16 ? kHalf : kHalf - (kBytes - 16));
    __m256i bytes;
    if constexpr (kBytes >= 16) {
      bytes = both_lanes(block, block + kBytes - 16);
    } else {
      const auto* words = reinterpret_cast<const uint8_t*>(block);
      const uint64_t rest = kBytes > 8 ? word_at(words + 8) : 0;
      bytes = _mm256_broadcastsi128_si256(sixteen_bytes(long_at(words), rest));
    }
    __m256i eights[2];
    for (int k = 0; k < 2; ++k) {
      const __m256i pairs = _mm256_shuffle_epi8(bytes, both_lanes(kLow.bytes[k], kHigh.bytes[k]));
      const __m256i moved = _mm256_mullo_epi16(pairs, both_lanes(kLow.factors[k], kHigh.factors[k]));
      eights[k] = _mm256_and_si256(_mm256_srli_epi16(moved, 8), _mm256_set1_epi16((1 << kBits) - 1));
    }
    return _mm256_packus_epi16(eights[0], eights[1]);
  }
}

// Unsigned quants with a scale and a bias for each group. Those of 8 bits are centred, and the bias makes up for it:
// vpmaddubsw would meet its saturation at 255.
template <int kBits>
struct AffineDot {
  static constexpr bool kScalesApart = true;
  static constexpr int64_t kBlockValues = 32, kBlockBytes = 4 * kBits;

  template <int N>
  static void run(const PackedRow& w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const int64_t n_blocks = x.cols / 32, group_blocks = w.group_cols / 32;
    const int8_t* q8 = x.q8 + first * x.cols;
    const float *x_scale = x.scale + first * n_blocks, *x_sum = x.sum + first * n_blocks;
    __m256 sums[N][2];  // of products and of biases
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t b = 0, group = 0; b < n_blocks; ++group) {
      const float scale = load_scale(w.type, w.scales, group);
      const float bias = load_scale(w.type, w.biases, group) + (kBits == 8 ? 128 * scale : 0.0f);
      const __m256 eighth = _mm256_set1_ps(bias / 8);  // all 8 lanes are summed
      for (const int64_t end = b + group_blocks; b < end; ++b) {
        const __m256i q = affine_quants<kBits>(w.data + b * kBlockBytes);
        for (int i = 0; i < N; ++i) {
          const __m256i values = load32(q8 + i * x.cols + 32 * b);
          __m256 dots;
          if constexpr (kBits == 8) {
            dots = dot4(signed_bytes_of(_mm256_xor_si256(q, _mm256_set1_epi8(-128))), values);
          } else {
            dots = dot4(q, values);
          }
          sums[i][0] = _mm256_fmadd_ps(dots, _mm256_set1_ps(scale * x_scale[i * n_blocks + b]), sums[i][0]);
          sums[i][1] = _mm256_fmadd_ps(eighth, _mm256_broadcast_ss(x_sum + i * n_blocks + b), sums[i][1]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({_mm256_add_ps(sums[i][0], sums[i][1])});
  }
};

struct Mxfp4SplitDot {
  static constexpr bool kScalesApart = true;
  static constexpr int64_t kBlockValues = 32, kBlockBytes = 16;

  template <int N>
  static void run(const PackedRow& w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const int64_t n_blocks = x.cols / 32;
    const int8_t* q8 = x.q8 + first * x.cols;
    const float* x_scale = x.scale + first * n_blocks;
    const __m256i levels = _mm256_broadcastsi128_si256(load16(kMxfp4Levels));
    __m256 sums[N];
    for (int i = 0; i < N; ++i) sums[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; ++b) {
      const SignedBytes q = signed_bytes_of(_mm256_shuffle_epi8(levels, neighbours(w.data + b * kBlockBytes)));
      const float scale = half_e8m0(static_cast<uint8_t>(w.scales[b]));
      for (int i = 0; i < N; ++i) {
        const __m256 dots = dot4(q, load32(q8 + i * x.cols + 32 * b));
        sums[i] = _mm256_fmadd_ps(dots, _mm256_set1_ps(scale * x_scale[i * n_blocks + b]), sums[i]);
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes({sums[i]});
  }
};

}  // namespace flashmoe::FLASHMOE_ISA
