#include "io/direct_alignment.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace flashmoe {
namespace {

constexpr uint32_t kPage = 4096;

// One direct read at exactly this alignment: offset, length and memory are odd multiples of it where the file is long
// enough, so that a stricter device refuses. The bytes must be those of the page cache.
bool transfers(const File& file, uint32_t alignment) {
  alignas(kPage) std::array<std::byte, 4 * kPage> memory;
  std::array<std::byte, kPage> expected;
  const uint64_t offset = file.size() > alignment ? alignment : 0;
  const size_t n = static_cast<size_t>(std::min<uint64_t>(alignment, file.size() - offset));
  std::byte* dest = memory.data() + alignment;
  ssize_t got = 0;
  do {
    got = ::pread(file.direct_fd(), dest, alignment, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(n)) return false;
  file.read(offset, std::span(expected.data(), n));
  return std::memcmp(dest, expected.data(), n) == 0;
}

}  // namespace

uint32_t probe_direct_alignment(const File& file) {
  if (file.direct_fd() < 0 || file.size() == 0) return 0;
  for (const uint32_t alignment : {512u, kPage}) {
    if (transfers(file, alignment)) return alignment;
  }
  return 0;
}

}  // namespace flashmoe
