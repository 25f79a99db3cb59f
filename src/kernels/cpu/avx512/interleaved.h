// Matrices whose rows lie interleaved, 16 at a time, AVX-512: what each of 16 rows has at one place lies side by side,
// so that a register of it needs no transposing, and a matrix is read from its first byte to its last.
//
// 16 rows of 256 values each take as many bytes as in the file. Of each two superblocks that follow one another, or the
// last alone: [1 or 2][half][16 rows] 16-bit halves, of the formats that have some, then [1 or 2][word][16 rows] 32-bit
// words, in the order in which they are used: the processor fetches ahead what is read in order, and nothing else
// (docs/experiments/0030-interleaved-rows.md). Sums are those of int8_matvec.h.
#pragma once

#include <type_traits>

#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/kernels.h"

namespace flashmoe::avx512 {

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

// Which bytes of 256 values of a row are words and which are halves.
template <typename Block>
struct WordsAndHalves {  // the K formats: all bytes are words but d, where it is last, and what follows it
  static constexpr size_t kHalvesAt = offsetof(Block, d) == 0 ? sizeof(Block) : offsetof(Block, d);
  static constexpr int kWords = kHalvesAt / 4, kHalves = (sizeof(Block) - kHalvesAt) / 2;
  static constexpr size_t word_at(size_t byte) { return word_places<Block>().of[byte / 4]; }
  template <typename Places>
  static auto* half_at(const Places& superblock, size_t byte) {
    return superblock.first_half + 32 * ((byte - kHalvesAt) / 2);
  }
};
// Halves lie among the words: those of two blocks, in the place of one word, before the words of these blocks.
template <>
struct WordsAndHalves<BlockQ8_0> {
  static constexpr int kWords = 4 * 17, kHalves = 0;
  static constexpr size_t word_at(size_t byte) {
    const size_t block = byte / sizeof(BlockQ8_0), in_block = byte % sizeof(BlockQ8_0);
    return block / 2 * 17 + 1 + block % 2 * 8 + (in_block - offsetof(BlockQ8_0, q)) / 4;
  }
  template <typename Places>
  static auto* half_at(const Places& superblock, size_t byte) {
    const size_t block = byte / sizeof(BlockQ8_0);
    return superblock.first_word + block / 2 * 17 * 64 + block % 2 * 32;
  }
};

inline constexpr int64_t kMostGroupBytes = kTileRows * kMaxCols / 32 * static_cast<int64_t>(sizeof(BlockQ8_0));

// Where a superblock of 16 rows begins.
template <typename Byte>
struct InterleavedPlaces {
  Byte *first_word, *first_half;
};

// 256 values of 16 interleaved rows.
template <typename BlockOfRows>
struct InterleavedColumns {
  using Block = BlockOfRows;
  using Parts = WordsAndHalves<Block>;
  InterleavedPlaces<const std::byte> places;

  template <int N>
  void words(size_t at, __m512i (&to)[N]) const {
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) to[k] = word(at + 4 * static_cast<size_t>(k));
  }
  __m512i word(size_t at) const { return _mm512_loadu_si512(places.first_word + 64 * Parts::word_at(at)); }
  __m256i halves(size_t at) const { return load32(Parts::half_at(places, at)); }
};

// A source of weights like BlockRow, for whole groups of 16 rows.
template <typename BlockOfRows>
class InterleavedRows {
 public:
  using Block = BlockOfRows;
  static constexpr Form kForm = form_of(static_cast<const Block*>(nullptr));
  static constexpr bool kMayEndEarly = false;  // rows are whole superblocks
  using Parts = WordsAndHalves<Block>;

  InterleavedRows(const MatrixView& w, int64_t row) : data_(w.data + row * row_bytes(w.cols)) {}

  // Superblock s of the 16 rows that lie at `group`.
  template <typename Byte>
  static InterleavedPlaces<Byte> superblock(Byte* group, int64_t cols, int64_t s) {
    constexpr int64_t kWordBytes = 64 * Parts::kWords, kHalfBytes = 32 * Parts::kHalves;
    const int64_t odd = s % 2, n_together = s - odd + 1 < cols / kSuperblock ? 2 : 1;
    Byte* const halves = group + (s - odd) * (kWordBytes + kHalfBytes);
    return {halves + n_together * kHalfBytes + odd * kWordBytes, halves + odd * kHalfBytes};
  }
  static InterleavedColumns<Block> columns_of(const MatrixView& w, int64_t first, int64_t s) {
    return {superblock(w.data + first * row_bytes(w.cols), w.cols, s)};
  }
  template <typename Places>
  static void columns(const MatrixView& w, int64_t first, int /*n_rows*/, int64_t s, const Places& to) {
    unpack_columns(columns_of(w, first, s), to);
  }
  const char* data() const { return reinterpret_cast<const char*>(data_); }
  static constexpr int64_t row_bytes(int64_t cols) {
    return cols / Block::kValues * static_cast<int64_t>(sizeof(Block));
  }

 private:
  const std::byte* data_;
};

template <int N>
using Words = std::integral_constant<int, N>;

// What is 256 values of each of 16 rows, to where its words and halves go.
template <typename Block>
inline void store_interleaved(const RowColumns<Block>& rows, const InterleavedPlaces<std::byte>& to) {
  using Parts = WordsAndHalves<Block>;
  const auto put = [&]<int N>(size_t at, Words<N>) {
    __m512i words[N];
    rows.words(at, words);
    for (int k = 0; k < N; ++k) {
      _mm512_storeu_si512(to.first_word + 64 * Parts::word_at(at + 4 * static_cast<size_t>(k)), words[k]);
    }
  };
  const auto put_half = [&](size_t at) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(Parts::half_at(to, at)), rows.halves(at));
  };
  if constexpr (Block::kValues == kSuperblock) {
    constexpr int kSixteens = Parts::kWords / 16 * 16;
    for (int k = 0; k < kSixteens; k += 16) put(4 * static_cast<size_t>(k), Words<16>());
    // The last four overlap those before them where words are no multiple of four.
    for (int k = kSixteens; k < Parts::kWords; k += 4) {
      put(4 * static_cast<size_t>(k < Parts::kWords - 4 ? k : Parts::kWords - 4), Words<4>());
    }
    for (int h = 0; h < Parts::kHalves; ++h) put_half(Parts::kHalvesAt + 2 * static_cast<size_t>(h));
  } else {
    for (size_t b = 0; b < kSuperblock / Block::kValues; ++b) {
      put(b * sizeof(Block) + offsetof(Block, q), Words<8>());
      put_half(b * sizeof(Block) + offsetof(Block, d));
    }
  }
}

// The groups of 16 rows, in place, each by way of a copy.
template <typename Block>
inline void interleave(std::byte* data, int64_t rows, int64_t cols) noexcept {
  constexpr int kBlocks = kSuperblock / Block::kValues;
  const int64_t row_bytes = InterleavedRows<Block>::row_bytes(cols), n_superblocks = cols / kSuperblock;
  alignas(64) std::byte copy[kMostGroupBytes];
  for (std::byte* group = data; group < data + rows * row_bytes; group += kTileRows * row_bytes) {
    __builtin_memcpy(copy, group, static_cast<size_t>(kTileRows * row_bytes));
    for (int64_t s = 0; s < n_superblocks; ++s) {
      RowColumns<Block> rows_of_16;
      for (int r = 0; r < kTileRows; ++r) {
        rows_of_16.rows[r] = reinterpret_cast<const Block*>(copy + r * row_bytes) + s * kBlocks;
      }
      store_interleaved(rows_of_16, InterleavedRows<Block>::superblock(group, cols, s));
    }
  }
}

}  // namespace flashmoe::avx512
