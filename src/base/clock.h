#pragma once

#include <chrono>
#include <cstdint>

namespace flashmoe {

// Monotonic time in nanoseconds; only differences mean something.
inline uint64_t now_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

inline double seconds_since(uint64_t start_ns) { return static_cast<double>(now_ns() - start_ns) * 1e-9; }

}  // namespace flashmoe
