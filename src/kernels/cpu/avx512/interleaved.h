// Matrices whose rows lie interleaved, 16 at a time, AVX-512: what each of 16 rows has at one place lies side by side,
// so that a register of it needs no transposing, and a matrix is read from its first byte to its last.
//
// 16 rows of 256 values each take as many bytes as in the file: first [superblock][word][16 rows] 32-bit words, then
// [superblock][half][16 rows] 16-bit halves, of the formats that have some. Sums are those of int8_matvec.h.
#pragma once

#include <type_traits>

#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/kernels.h"

namespace flashmoe::avx512 {

// Which bytes of 256 values of a row are words and which are halves.
template <typename Block>
struct WordsAndHalves {  // the K formats: all bytes are words but d, where it is last, and what follows it
  static constexpr size_t kHalvesAt = offsetof(Block, d) == 0 ? sizeof(Block) : offsetof(Block, d);
  static constexpr int kWords = kHalvesAt / 4, kHalves = (sizeof(Block) - kHalvesAt) / 2;
  static constexpr size_t word_at(size_t byte) { return byte / 4; }
  static constexpr size_t half_at(size_t byte) { return (byte - kHalvesAt) / 2; }
};
template <>
struct WordsAndHalves<BlockQ8_0> {
  static constexpr int kWords = 64, kHalves = 8;
  static constexpr size_t word_at(size_t byte) {
    return byte / sizeof(BlockQ8_0) * 8 + (byte % sizeof(BlockQ8_0) - offsetof(BlockQ8_0, q)) / 4;
  }
  static constexpr size_t half_at(size_t byte) { return byte / sizeof(BlockQ8_0); }
};

inline constexpr int64_t kMostGroupBytes = kTileRows * kMaxCols / 32 * static_cast<int64_t>(sizeof(BlockQ8_0));

// 256 values of 16 interleaved rows.
template <typename BlockOfRows>
struct InterleavedColumns {
  using Block = BlockOfRows;
  using Parts = WordsAndHalves<Block>;
  const std::byte *first_word, *first_half;

  template <int N>
  void words(size_t at, __m512i (&to)[N]) const {
    const std::byte* from = first_word + 64 * Parts::word_at(at);
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) to[k] = _mm512_loadu_si512(from + 64 * k);
  }
  __m512i word(size_t at) const { return _mm512_loadu_si512(first_word + 64 * Parts::word_at(at)); }
  __m256i halves(size_t at) const { return load32(first_half + 32 * Parts::half_at(at)); }
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

  // Superblock s of rows [first, first + 16).
  static InterleavedColumns<Block> superblock(const MatrixView& w, int64_t first, int64_t s) {
    const std::byte* words = w.data + first * row_bytes(w.cols);
    const std::byte* halves = words + w.cols / kSuperblock * Parts::kWords * 64;
    return {words + s * Parts::kWords * 64, halves + s * Parts::kHalves * 32};
  }
  template <typename Places>
  static void columns(const MatrixView& w, int64_t first, int /*n_rows*/, int64_t s, const Places& to) {
    unpack_columns(superblock(w, first, s), to);
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
inline void store_interleaved(const RowColumns<Block>& rows, std::byte* first_word, std::byte* first_half) {
  using Parts = WordsAndHalves<Block>;
  const auto put = [&]<int N>(size_t at, Words<N>) {
    __m512i words[N];
    rows.words(at, words);
    std::byte* to = first_word + 64 * Parts::word_at(at);
    for (int k = 0; k < N; ++k) _mm512_storeu_si512(to + 64 * k, words[k]);
  };
  const auto put_half = [&](size_t at) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(first_half + 32 * Parts::half_at(at)), rows.halves(at));
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
    for (size_t b = 0; b < Parts::kHalves; ++b) {
      put(b * sizeof(Block) + offsetof(Block, q), Words<8>());
      put_half(b * sizeof(Block) + offsetof(Block, d));
    }
  }
}

// The groups of 16 rows, in place, each by way of a copy.
template <typename Block>
inline void interleave(std::byte* data, int64_t rows, int64_t cols) noexcept {
  using Parts = WordsAndHalves<Block>;
  constexpr int kBlocks = kSuperblock / Block::kValues;
  const int64_t row_bytes = InterleavedRows<Block>::row_bytes(cols), n_superblocks = cols / kSuperblock;
  alignas(64) std::byte copy[kMostGroupBytes];
  for (std::byte* group = data; group < data + rows * row_bytes; group += kTileRows * row_bytes) {
    __builtin_memcpy(copy, group, static_cast<size_t>(kTileRows * row_bytes));
    std::byte* word = group;
    std::byte* half = group + n_superblocks * Parts::kWords * 64;
    for (int64_t s = 0; s < n_superblocks; ++s, word += Parts::kWords * 64, half += Parts::kHalves * 32) {
      RowColumns<Block> rows_of_16;
      for (int r = 0; r < kTileRows; ++r) {
        rows_of_16.rows[r] = reinterpret_cast<const Block*>(copy + r * row_bytes) + s * kBlocks;
      }
      store_interleaved(rows_of_16, word, half);
    }
  }
}

}  // namespace flashmoe::avx512
