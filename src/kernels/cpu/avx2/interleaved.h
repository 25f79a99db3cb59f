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
  __m128i single_bytes(size_t at) const {  // in the lower half
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(Parts::half_at(places, at) + 8 * half));
  }
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

// 32 bytes of each of 8 rows, or 16 of each of 16: a word of all rows after the other.
inline void put_words(__m256i (&rows)[8], std::byte* (&to)[8]) {
  transpose_8(rows);
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to[k]), rows[k]);
}

// To where its words and halves go.
template <typename Block>
class InterleavedStore {
 public:
  InterleavedStore(const RowsOfBlocks<Block>& from, const InterleavedPlaces<std::byte>& to) : from_(from), to_(to) {}

  void put_eight_words(size_t at) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i rows[8];
      std::byte* places[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        rows[r] = load32(row(8 * half + r) + at);
        places[r] = word(at + 4 * static_cast<size_t>(r)) + 32 * half;
      }
      put_words(rows, places);
    }
  }
  void put_four_words(size_t at) const {
    __m256i rows[8];
    std::byte* places[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      rows[r] = _mm256_setr_m128i(load16(row(r) + at), load16(row(8 + r) + at));
      places[r] = word(at + 4 * static_cast<size_t>(r % 4)) + 32 * (r / 4);
    }
    put_words(rows, places);
  }
  void put_word(size_t at) const { put<4>(at, word(at)); }
  template <size_t kBytes>
  void put_half(size_t at) const {
    put<kBytes>(at, Parts::half_at(to_, at));
  }

 private:
  using Parts = WordsAndHalves<Block>;
  const std::byte* row(int r) const { return reinterpret_cast<const std::byte*>(from_.rows[r]); }
  std::byte* word(size_t at) const { return to_.first_word + 64 * Parts::word_at(at); }
  template <size_t kBytes>
  void put(size_t at, std::byte* place) const {
    for (int r = 0; r < kInterleavedRows; ++r, place += kBytes) __builtin_memcpy(place, row(r) + at, kBytes);
  }
  const RowsOfBlocks<Block>& from_;
  const InterleavedPlaces<std::byte>& to_;
};

template <typename Block>
inline void store_interleaved(const RowsOfBlocks<Block>& from, const InterleavedPlaces<std::byte>& to) {
  using Parts = WordsAndHalves<Block>;
  const InterleavedStore<Block> store(from, to);
  if constexpr (Block::kValues == kSuperblock) {
    // The last eight overlap those before them where words are no multiple of eight.
    constexpr size_t kLast = 4 * (Parts::kWords - 8);
#pragma GCC unroll 8
    for (size_t at = 0; at < kLast + 32; at += 32) store.put_eight_words(at < kLast ? at : kLast);
    for (int h = 0; h < Parts::kHalves; ++h) {
      store.template put_half<2>(Parts::kHalvesAt + 2 * static_cast<size_t>(h));
    }
  } else {
    for (size_t block = 0; block < sizeof(Block) * 8; block += sizeof(Block)) {
      constexpr size_t kEnd = sizeof(Block);
      size_t at = Parts::kHead;
      for (; at + 32 <= kEnd; at += 32) store.put_eight_words(block + at);
      for (; at + 16 <= kEnd; at += 16) store.put_four_words(block + at);
      for (; at < kEnd; at += 4) store.put_word(block + at);
      if constexpr (Parts::kHead > 0) store.template put_half<Parts::kHead>(block);
    }
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
