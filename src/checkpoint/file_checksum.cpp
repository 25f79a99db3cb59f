#include "checkpoint/file_checksum.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"

namespace flashmoe {
namespace {

constexpr uint64_t kStepBytes = kMiB;

}  // namespace

void add_range(const File& file, uint64_t offset, uint64_t bytes, const std::function<void(uint64_t)>& on_bytes,
               Checksum& checksum) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(kStepBytes, bytes)));
  for (uint64_t at = 0; at < bytes;) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(buffer.size(), bytes - at));
    file.read(offset + at, std::span(buffer).first(n));
    checksum.add(std::span<const std::byte>(buffer).first(n));
    at += n;
    if (on_bytes) on_bytes(n);
  }
}

uint64_t checksum_of_file(const File& file) {
  Checksum checksum;
  add_range(file, 0, file.size(), {}, checksum);
  return checksum.value();
}

}  // namespace flashmoe
