// Bytes of which each tells its place, so that a read from another place shows.
#pragma once

#include <cstddef>
#include <string>

namespace flashmoe {

inline std::string patterned_bytes(size_t n) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 31 + (i >> 8));
  return bytes;
}

}  // namespace flashmoe
