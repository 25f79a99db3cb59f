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

class Comparison {
 public:
  Comparison(const File& file, const File& copy, const std::string& folder)
      : file_(file), copy_(copy), folder_(folder) {}

  // Throws Error{input} where they differ, Error{io} where no place could be read in both.
  void run() {
    if (file_.size() == 0) return;
    compare(0, kHeaderBytes);
    for (uint64_t i = 1; i <= kSamples && file_.size() > kHeaderBytes; ++i) {
      const uint64_t last = file_.size() - std::min(kSampleBytes, file_.size());
      compare(last / kSamples * i + last % kSamples * i / kSamples, kSampleBytes);
    }
    if (n_unread_ == n_) fail(Fault::io, "--mirror {}: {}; check the disk", folder_, why_);
  }
  int n_unread() const { return n_unread_; }
  const std::string& why() const { return why_; }  // the first place was not

 private:
  void compare(uint64_t offset, uint64_t bytes) {
    ++n_;
    const uint64_t n = std::min(bytes, file_.size() - offset);
    std::vector<std::byte> expected(n), got(n);
    try {
      file_.read(offset, expected);
      copy_.read(offset, got);
    } catch (const Error& error) {
      if (++n_unread_ == 1) why_ = error.what();
      return;
    }
    const auto [at, other] = std::mismatch(expected.begin(), expected.end(), got.begin());
    if (at == expected.end()) return;
    fail(Fault::input,
         "--mirror {}: {} and {} differ at offset {}: one of them is damaged, or of another model; find out which "
         "before you copy it again",
         folder_, copy_.path(), file_.path(), offset + static_cast<uint64_t>(at - expected.begin()));
  }

  const File& file_;
  const File& copy_;
  const std::string& folder_;
  int n_ = 0, n_unread_ = 0;
  std::string why_;
};

std::shared_ptr<File> open_copy(const std::string& path, const std::string& folder) {
  try {
    return open_file(path);
  } catch (const Error& error) {
    fail(error.fault(), "--mirror {}: {}; copy the model's files there", folder, error.what());
  }
}

}  // namespace

std::string path_of_copy(const File& file, const std::string& folder) {
  return (std::filesystem::path(folder) / std::filesystem::path(file.path()).filename()).string();
}

Mirror open_mirror(const std::vector<std::shared_ptr<File>>& files, const std::string& folder) {
  Mirror mirror;
  int n_unread = 0;
  std::string why;
  for (const auto& file : files) {
    const auto copy = open_copy(path_of_copy(*file, folder), folder);
    std::error_code error;
    if (std::filesystem::equivalent(file->path(), copy->path(), error)) {
      fail(Fault::usage, "--mirror {}: holds the model's own files, not copies of them; leave it away", folder);
    }
    if (copy->size() != file->size()) {
      fail(Fault::input, "--mirror {}: {} has {} bytes, but {} has {}; copy it again", folder, copy->path(),
           copy->size(), file->path(), file->size());
    }
    Comparison comparison(*file, *copy, folder);
    comparison.run();
    n_unread += comparison.n_unread();
    if (why.empty()) why = comparison.why();
    mirror.files.push_back(copy);
  }
  if (n_unread > 0) {
    mirror.remark = fmt::format("{} place{} not compared with {}: {}", n_unread, n_unread == 1 ? "" : "s", folder, why);
  }
  return mirror;
}

}  // namespace flashmoe
