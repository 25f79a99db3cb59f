// What a client may ask of the server, in bytes, counts and time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace flashmoe {

struct ServeLimits {
  size_t head_bytes = 64 << 10;  // request line and headers
  size_t head_lines = 128;
  size_t body_bytes = size_t{16} << 20;
  size_t n_connections = 1024;
  // Of all requests together, for what they hold until they are answered.
  size_t held_bytes() const { return std::max(size_t{128} << 20, 8 * body_bytes); }
  std::chrono::milliseconds head_time{10'000};  // from its first byte to its last
  std::chrono::milliseconds body_time{60'000};
  std::chrono::milliseconds write_time{30'000};  // that a reader may take no byte
  std::chrono::milliseconds idle_time{30'000};   // between requests of a connection
};

}  // namespace flashmoe
