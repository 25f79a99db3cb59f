// Matrices whose rows lie interleaved, AVX-512: how they are read and made. Sums are those of int8_matvec.h.
#pragma once

#include <type_traits>

#include "kernels/cpu/avx512/int8_panels.h"
#include "kernels/cpu/vector/interleaved_layout.h"
#include "kernels/kernels.h"

namespace flashmoe::avx512 {

// 256 values of 16 interleaved rows. `kAsks`: each word of theirs, which is a line, that is read asks for one
// kAskedAhead further on.
template <typename BlockOfRows, bool kAsks = false>
struct InterleavedColumns {
  using Block = BlockOfRows;
  using Parts = WordsAndHalves<Block>;
  InterleavedPlaces<const std::byte> places;

  template <int N>
  void words(size_t at, __m512i (&to)[N]) const {
#pragma GCC unroll 16
    for (int k = 0; k < N; ++k) to[k] = word(at + 4 * static_cast<size_t>(k));
  }
  __m512i word(size_t at) const {
    const std::byte* const line = places.first_word + 64 * Parts::word_at(at);
    __m512i words = _mm512_loadu_si512(line);
    if constexpr (kAsks) ask_ahead_of(line, words);
    return words;
  }
  __m256i halves(size_t at) const { return load32(Parts::half_at(places, at)); }
};

// A source of weights like BlockRow, for whole groups of 16 rows.
template <typename BlockOfRows, Form kFormOfRows = form_of(static_cast<const BlockOfRows*>(nullptr))>
class InterleavedRows {
 public:
  using Block = BlockOfRows;
  static constexpr Form kForm = kFormOfRows;
  static constexpr bool kMayEndEarly = false;  // rows are whole superblocks
  static constexpr bool kLiesInOrder = true;   // what is read next follows
  using Parts = WordsAndHalves<Block>;

  InterleavedRows(const MatrixView& w, int64_t row) : data_(w.data + row * row_bytes(w.cols)) {}

  template <bool kAsks = false>
  static InterleavedColumns<Block, kAsks> columns_of(const MatrixView& w, int64_t first, int /*n_rows*/, int64_t s) {
    return {superblock_of<Block>(w.data + first * row_bytes(w.cols), w.cols, s)};
  }
  template <typename Places>
  static void columns(const MatrixView& w, int64_t first, int n_rows, int64_t s, const Places& to) {
    unpack_columns(columns_of(w, first, n_rows, s), to);
  }
  const char* data() const { return reinterpret_cast<const char*>(data_); }
  static constexpr int64_t row_bytes(int64_t cols) { return row_bytes_of<Block>(cols); }

 private:
  const std::byte* data_;
};

template <typename Source>
concept HasScalesApart = requires {
  Source::kScalesApart;
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
  } else if constexpr (Parts::kHead == 0) {
    for (size_t at = 0; at < 8 * sizeof(Block); at += 32) put(at, Words<8>());
  } else {
    for (size_t b = 0; b < kSuperblock / Block::kValues; ++b) {
      put(b * sizeof(Block) + offsetof(Block, q), Words<8>());
      put_half(b * sizeof(Block) + offsetof(Block, d));
    }
  }
}

}  // namespace flashmoe::avx512
