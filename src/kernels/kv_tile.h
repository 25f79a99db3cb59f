// How keys and values lie in memory: in tiles of 16 positions of one head, so that one vector holds the same dimension
// of 16 keys (their products with a query need no sum across lanes), and two positions of a value lie side by side.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe {

struct KernelTable;

// q8: int8, a key with one f32 scale for 32 dimensions, a value with one for the head.
enum class KvFormat { f16, f32, q8 };
inline constexpr int kKvFormatCount = 3;
inline constexpr int64_t kKvTile = 16;
inline constexpr int64_t kKvReadable = 32;        // kernels may read, and ignore, positions up to a multiple of this
inline constexpr int64_t kKvScaleDims = 32;       // q8: dimensions of a key that share a scale; d_head is a multiple
inline constexpr int64_t kKvMostDimsOfQ8 = 1024;  // q8: largest d_head

// Bytes of one head's tile, C = kKvTile, d = d_head:
//   f16, f32: keys [d, C], values [C, d]
//   q8: keys k + 128 as [d / 4, C, 4] bytes, then scales [d / 32, C] f32; values [C / 2, d, 2] int8, then scales [C]
//   f32
constexpr int64_t key_tile_bytes(KvFormat format, int64_t d_head) {
  if (format == KvFormat::q8) return kKvTile * (d_head + d_head / kKvScaleDims * 4);
  return kKvTile * d_head * (format == KvFormat::f16 ? 2 : 4);
}
constexpr int64_t value_tile_bytes(KvFormat format, int64_t d_head) {
  if (format == KvFormat::q8) return kKvTile * (d_head + 4);
  return kKvTile * d_head * (format == KvFormat::f16 ? 2 : 4);
}

// Writes key and value [d_head] of one position into place `at` (0 to 15) of its tiles.
void put_in_tile(const KernelTable& kernels, KvFormat format, int64_t d_head, int64_t at, const float* key,
                 const float* value, std::byte* key_tile, std::byte* value_tile) noexcept;

}  // namespace flashmoe
