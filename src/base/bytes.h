// Byte arithmetic; how sizes are written for people is public.
#pragma once

#include <cstdint>
#include <optional>

#include "flashmoe/wording.h"

namespace flashmoe {

inline constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

constexpr uint64_t round_down(uint64_t value, uint64_t multiple) { return value / multiple * multiple; }
constexpr uint64_t round_up(uint64_t value, uint64_t multiple) { return round_down(value + multiple - 1, multiple); }

// a * b, or nothing when it does not fit in 64 bits: for sizes that come out of files.
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

}  // namespace flashmoe
