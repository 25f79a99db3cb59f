// How the rows of a matrix lie interleaved, 16 at a time: what each of 16 rows has at one place lies side by side, so
// that a register of it needs no transposing, and a matrix is read from its first byte to its last.
//
// 16 rows of 256 values each take as many bytes as in the file. Of each two superblocks that follow one another, or the
// last alone: [1 or 2][half][16 rows] 16-bit halves, of the formats that have some, then [1 or 2][word][16 rows] 32-bit
// words, in the order in which they are used: the processor fetches ahead what is read in order, and nothing else
// (docs/experiments/0030-interleaved-rows.md). Included after a vec.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "quant/iq4_xs.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe::FLASHMOE_ISA {

// Where the words of 256 values of a row go among those of its superblock.
struct WordPlaces {
  uint8_t of[64] = {};
  uint8_t n = 0;
  constexpr void add(size_t byte) { of[byte / 4] = n++; }
  constexpr void add(size_t first_byte, size_t end_byte) {
    for (size_t byte = first_byte; byte < end_byte; byte += 4) add(byte);
  }
  // 32 bytes from each of two places.
  constexpr void add_in_turn(size_t a, size_t b) {
    for (size_t byte = 0; byte < 32; byte += 4) add(a + byte), add(b + byte);
  }
};
template <typename Block>
consteval WordPlaces word_places() {
  WordPlaces places;
  places.add(0, sizeof(Block));
  return places;
}
template <>
consteval WordPlaces word_places<BlockQ5_K>() {
  using Q = BlockQ5_K;
  WordPlaces places;
  places.add(0, offsetof(Q, high));
  places.add_in_turn(offsetof(Q, high), offsetof(Q, q));
  places.add(offsetof(Q, q) + 32, offsetof(Q, q) + 128);
  return places;
}
template <>
consteval WordPlaces word_places<BlockQ6_K>() {
  using Q = BlockQ6_K;
  WordPlaces places;
  places.add(offsetof(Q, scales), offsetof(Q, scales) + 16);
  for (size_t half = 0; half < 2; ++half) {
    const size_t high = offsetof(Q, high) + 32 * half, low = offsetof(Q, low) + 64 * half;
    places.add_in_turn(high, low);
    places.add(low + 32, low + 64);
  }
  return places;
}
template <>
consteval WordPlaces word_places<BlockQ3_K>() {
  using Q = BlockQ3_K;
  WordPlaces places;
  places.add(offsetof(Q, scales), offsetof(Q, scales) + 12);
  places.add_in_turn(offsetof(Q, high), offsetof(Q, q));
  places.add(offsetof(Q, q) + 32, offsetof(Q, q) + 64);
  return places;
}

template <typename Block>
inline constexpr WordPlaces kWordPlaces = word_places<Block>();

// Which bytes of 256 values of a row are words and which are halves (of MXFP4: single bytes).
template <typename Block>
struct WordsAndHalves {  // the K formats: all bytes are words but d, where it is last, and what follows it
  static constexpr size_t kHalvesAt = offsetof(Block, d) == 0 ? sizeof(Block) : offsetof(Block, d);
  static constexpr int kWords = kHalvesAt / 4, kHalves = (sizeof(Block) - kHalvesAt) / 2;
  static constexpr size_t word_at(size_t byte) { return kWordPlaces<Block>.of[byte / 4]; }
  template <typename Places>
  static auto* half_at(const Places& superblock, size_t byte) {
    return superblock.first_half + 32 * ((byte - kHalvesAt) / 2);
  }
};
// Blocks of 32 values: all bytes are words but the first, or the first two, of formats whose blocks are no multiple of
// 4 bytes. Of as many blocks as fill a word these lie among the words, [4 or 2 blocks][16 rows], before the words of
// the same blocks.
template <typename Block>
requires(Block::kValues == 32) struct WordsAndHalves<Block> {
  static constexpr size_t kHead = sizeof(Block) % 4, kTogether = kHead == 0 ? 1 : 4 / kHead;
  static constexpr size_t kHeadWords = kHead == 0 ? 0 : 1, kBlockWords = sizeof(Block) / 4;
  static constexpr int kWords = 8 / kTogether * (kHeadWords + kTogether * kBlockWords), kHalves = 0;
  static constexpr size_t first_word_of(size_t block) {
    return block / kTogether * (kHeadWords + kTogether * kBlockWords);
  }
  static constexpr size_t word_at(size_t byte) {
    const size_t block = byte / sizeof(Block), in_block = byte % sizeof(Block);
    return first_word_of(block) + kHeadWords + block % kTogether * kBlockWords + (in_block - kHead) / 4;
  }
  template <typename Places>
  static auto* half_at(const Places& superblock, size_t byte) {
    const size_t block = byte / sizeof(Block);
    return superblock.first_word + 64 * first_word_of(block) + block % kTogether * kHead * kInterleavedRows;
  }
};

// Where a superblock of 16 rows begins.
template <typename Byte>
struct InterleavedPlaces {
  Byte *first_word, *first_half;
};

// Superblock s of the 16 rows that lie at `group`.
template <typename Block, typename Byte>
InterleavedPlaces<Byte> superblock_of(Byte* group, int64_t cols, int64_t s) {
  using Parts = WordsAndHalves<Block>;
  constexpr int64_t kWordBytes = 64 * Parts::kWords, kHalfBytes = 32 * Parts::kHalves;
  const int64_t odd = s % 2, n_together = s - odd + 1 < cols / 256 ? 2 : 1;
  Byte* const halves = group + (s - odd) * (kWordBytes + kHalfBytes);
  return {halves + n_together * kHalfBytes + odd * kWordBytes, halves + odd * kHalfBytes};
}

template <typename Block>
constexpr int64_t row_bytes_of(int64_t cols) {
  return cols / Block::kValues * static_cast<int64_t>(sizeof(Block));
}

// All groups of 16 rows of a matrix, in place, each by way of a copy. Rows: superblocks of 16 rows, that begin where
// `rows` [16] point to, which store_interleaved(rows, places) puts where their words and halves go.
template <typename Rows>
inline void interleave(std::byte* data, int64_t rows, int64_t cols) noexcept {
  using Block = typename Rows::Block;
  constexpr int64_t kSuperblockValues = 256, kBlocks = kSuperblockValues / Block::kValues;
  const int64_t row_bytes = row_bytes_of<Block>(cols), group_bytes = kInterleavedRows * row_bytes;
  alignas(64) std::byte copy[kInterleavedRows * row_bytes_of<BlockQ8_0>(kMostInterleavedCols)];
  for (std::byte* group = data; group < data + rows * row_bytes; group += group_bytes) {
    __builtin_memcpy(copy, group, static_cast<size_t>(group_bytes));
    for (int64_t s = 0; s < cols / kSuperblockValues; ++s) {
      Rows superblocks;
      for (int r = 0; r < kInterleavedRows; ++r) {
        superblocks.rows[r] = reinterpret_cast<const Block*>(copy + r * row_bytes) + s * kBlocks;
      }
      store_interleaved(superblocks, superblock_of<Block>(group, cols, s));
    }
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
