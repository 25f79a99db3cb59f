#include "checkpoint/identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"

namespace flashmoe {
namespace {

constexpr uint64_t kSampleBytes = 64 * kKiB, kSamples = 64;  // over all files; at least three of each

template <typename T>
void add(Checksum& checksum, const T& value) {
  checksum.add(std::as_bytes(std::span(&value, 1)));
}

}  // namespace

std::string identity_of(std::span<const std::shared_ptr<File>> files) {
  Checksum checksum;
  std::vector<std::byte> sample;
  const uint64_t n_samples = std::max<uint64_t>(3, kSamples / std::max<uint64_t>(1, files.size()));
  for (const auto& file : files) {
    const uint64_t bytes = file->size();
    struct stat status = {};
    ::stat(file->path().c_str(), &status);
    add(checksum, bytes);
    add(checksum, status.st_mtim.tv_sec);
    add(checksum, status.st_mtim.tv_nsec);
    sample.resize(std::min(kSampleBytes, bytes));
    for (uint64_t i = 0; i < n_samples; ++i) {
      file->read((bytes - sample.size()) / (n_samples - 1) * i, sample);
      checksum.add(sample);
    }
  }
  return show_checksum(checksum.value());
}

}  // namespace flashmoe
