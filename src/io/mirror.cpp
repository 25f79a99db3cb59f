#include "io/mirror.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr uint64_t kHeaderBytes = 256 * kKiB;
constexpr uint64_t kSampleBytes = 4 * kKiB;
constexpr uint64_t kSamples = 64;

void compare(const File& file, const File& copy, uint64_t offset, uint64_t bytes, const std::string& folder) {
  const uint64_t n = std::min(bytes, file.size() - offset);
  std::vector<std::byte> expected(n), got(n);
  file.read(offset, expected);
  copy.read(offset, got);
  const auto [at, other] = std::mismatch(expected.begin(), expected.end(), got.begin());
  if (at == expected.end()) return;
  fail(Fault::input, "--mirror {}: {} is no copy of {}: they differ at offset {}; copy it again", folder, copy.path(),
       file.path(), offset + static_cast<uint64_t>(at - expected.begin()));
}

std::shared_ptr<File> open_copy(const std::string& path, const std::string& folder) {
  try {
    return open_file(path);
  } catch (const Error& error) {
    fail(error.fault(), "--mirror {}: {}; copy the model's files there", folder, error.what());
  }
}

}  // namespace

std::vector<std::shared_ptr<File>> open_mirror(const std::vector<std::shared_ptr<File>>& files,
                                               const std::string& folder) {
  std::vector<std::shared_ptr<File>> copies;
  for (const auto& file : files) {
    const std::string name = std::filesystem::path(file->path()).filename();
    const auto copy = open_copy((std::filesystem::path(folder) / name).string(), folder);
    std::error_code error;
    if (std::filesystem::equivalent(file->path(), copy->path(), error)) {
      fail(Fault::usage, "--mirror {}: holds the model's own files, not copies of them; leave it away", folder);
    }
    if (copy->size() != file->size()) {
      fail(Fault::input, "--mirror {}: {} has {} bytes, but {} has {}; copy it again", folder, copy->path(),
           copy->size(), file->path(), file->size());
    }
    if (file->size() > 0) compare(*file, *copy, 0, kHeaderBytes, folder);
    for (uint64_t i = 1; i <= kSamples && file->size() > kHeaderBytes; ++i) {
      const uint64_t last = file->size() - std::min(kSampleBytes, file->size());
      compare(*file, *copy, last / kSamples * i + last % kSamples * i / kSamples, kSampleBytes, folder);
    }
    copies.push_back(copy);
  }
  return copies;
}

}  // namespace flashmoe
