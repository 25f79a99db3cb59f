// The IQ1, IQ2 and IQ3 formats store groups of values as indices into codebooks: here they are, one byte a value.
//
// An entry of the stored form (iq1_grid.h and its sisters) holds 2 or 4 bits a value, the first value lowest, each the
// index of a level. Unpacked, an entry is 8 or 4 bytes in the order of the values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/iq1_grid.h"
#include "quant/iq2_grids.h"
#include "quant/iq3_grids.h"

namespace flashmoe {

// A plain array in a struct: std::array's functions could be those of another instruction set (see avx512/vec.h).
template <typename Entry, size_t kEntries>
struct Codebook {
  Entry entries[kEntries];
};

// Values per entry: sizeof(Entry). `factor` is applied to every level.
template <typename Entry, size_t kEntries, size_t kLevels>
consteval Codebook<Entry, kEntries> unpack_codebook(const uint16_t (&packed)[kEntries], const int8_t (&levels)[kLevels],
                                                    int factor = 1) {
  constexpr int kBits = 16 / static_cast<int>(sizeof(Entry));
  Codebook<Entry, kEntries> book = {};
  for (size_t i = 0; i < kEntries; ++i) {
    for (int j = 0; j < static_cast<int>(sizeof(Entry)); ++j) {
      const int level = levels[packed[i] >> kBits * j & ((1 << kBits) - 1)] * factor;
      book.entries[i] |= static_cast<Entry>(static_cast<uint8_t>(level)) << 8 * j;
    }
  }
  return book;
}

// IQ1's values are -1, 0 and 1, moved by 1/8 up or down: in eighths they are whole numbers.
inline constexpr auto kIq1Grid = unpack_codebook<uint64_t>(kIq1Entries, kIq1Levels, 8);
inline constexpr auto kIq2XxsGrid = unpack_codebook<uint64_t>(kIq2XxsEntries, kIq2XxsLevels);
inline constexpr auto kIq2XsGrid = unpack_codebook<uint64_t>(kIq2XsEntries, kIq2XsLevels);
inline constexpr auto kIq2SGrid = unpack_codebook<uint64_t>(kIq2SEntries, kIq2SLevels);
inline constexpr auto kIq3XxsGrid = unpack_codebook<uint32_t>(kIq3XxsEntries, kIq3XxsLevels);
inline constexpr auto kIq3SGrid = unpack_codebook<uint32_t>(kIq3SEntries, kIq3SLevels);

// The sign bits of 8 values from their 7 stored bits: the eighth makes their number even.
static inline uint8_t even_signs(uint32_t seven_bits) noexcept {
  return static_cast<uint8_t>(seven_bits | static_cast<uint32_t>(__builtin_parity(seven_bits)) << 7);
}

static inline uint16_t load_u16(const uint8_t* bytes) noexcept {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
static inline uint32_t load_u32(const uint8_t* bytes) noexcept {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// out[j] = scale * entry[j], negative where bit j of `signs` is set.
template <typename Entry>
static inline void decode_entry(Entry entry, uint32_t signs, float scale, float* __restrict out) noexcept {
  uint8_t bytes[sizeof(Entry)];
  std::memcpy(bytes, &entry, sizeof(entry));
  for (unsigned j = 0; j < sizeof(Entry); ++j) {
    const int flip = -static_cast<int>(signs >> j & 1);  // without a branch: signs are random
    out[j] = scale * static_cast<float>((bytes[j] ^ flip) - flip);
  }
}

}  // namespace flashmoe
