// Rows that lie interleaved (interleaved_layout.h), 8 at a time: how they are read and made, AVX2.
#pragma once

#include "kernels/cpu/avx2/int8_dot.h"
#include "kernels/cpu/vector/interleaved_layout.h"
#include "kernels/kernels.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int kTileRows = 8;  // lanes: half of the rows that lie interleaved

// 256 values of rows [8 half, 8 half + 8) of 16.
template <typename BlockOfRows>
struct InterleavedColumns {
  using Block = BlockOfRows;
  using Parts = WordsAndHalves<Block>;
  InterleavedPlaces<const std::byte> places;
  int half;

  __m256i word(size_t at) const { return load32(places.first_word + 64 * Parts::word_at(at) + 32 * half); }
  __m128i halves(size_t at) const { return load16(Parts::half_at(places, at) + 16 * half); }
};

inline void transpose_8(__m256i (&rows)[8]) {
  __m256i pairs[8], fours[8];
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    pairs[r] = _mm256_unpacklo_epi32(rows[r], rows[r + 1]);
    pairs[r + 1] = _mm256_unpackhi_epi32(rows[r], rows[r + 1]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      fours[r + 2 * k] = _mm256_unpacklo_epi64(pairs[r + k], pairs[r + 2 + k]);
      fours[r + 2 * k + 1] = _mm256_unpackhi_epi64(pairs[r + k], pairs[r + 2 + k]);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    rows[k] = _mm256_permute2x128_si256(fours[k], fours[4 + k], 0x20);
    rows[4 + k] = _mm256_permute2x128_si256(fours[k], fours[4 + k], 0x31);
  }
}

// A superblock of each of 16 rows.
template <typename BlockOfRows>
struct RowsOfBlocks {
  using Block = BlockOfRows;
  const Block* rows[kInterleavedRows];
};

// To where its words and halves go.
template <typename Block>
inline void store_interleaved(const RowsOfBlocks<Block>& from, const InterleavedPlaces<std::byte>& to) {
  using Parts = WordsAndHalves<Block>;
  const auto put_eight = [&](size_t at) {  // words
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i words[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) words[r] = load32(reinterpret_cast<const std::byte*>(from.rows[8 * half + r]) + at);
      transpose_8(words);
#pragma GCC unroll 8
      for (size_t k = 0; k < 8; ++k) {
        std::byte* const place = to.first_word + 64 * Parts::word_at(at + 4 * k) + 32 * half;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), words[k]);
      }
    }
  };
  const auto put_half = [&](size_t at) {
    std::byte* const place = Parts::half_at(to, at);
    for (int r = 0; r < kInterleavedRows; ++r) {
      __builtin_memcpy(place + 2 * r, reinterpret_cast<const std::byte*>(from.rows[r]) + at, 2);
    }
  };
  if constexpr (Block::kValues == kSuperblock) {
    // The last eight overlap those before them where words are no multiple of eight.
    constexpr size_t kLast = 4 * (Parts::kWords - 8);
#pragma GCC unroll 8
    for (size_t at = 0; at < kLast + 32; at += 32) put_eight(at < kLast ? at : kLast);
    for (int h = 0; h < Parts::kHalves; ++h) put_half(Parts::kHalvesAt + 2 * static_cast<size_t>(h));
  } else {
    for (size_t b = 0; b < kSuperblock / Block::kValues; ++b) {
      put_eight(b * sizeof(Block) + offsetof(Block, q));
      put_half(b * sizeof(Block) + offsetof(Block, d));
    }
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
