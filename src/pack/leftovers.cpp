#include "pack/leftovers.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "base/error.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBlockBytes = 512;  // of st_blocks

std::vector<fs::path> leftovers(const fs::path& folder, const Manifest& manifest) {
  std::vector<fs::path> paths;
  const auto add = [&](const std::string& name, bool known) {
    paths.push_back(folder / (name + ".partial"));
    if (!known) paths.push_back(folder / name);
  };
  add(std::string(kUnfinishedManifestName), true);
  add(std::string(kTrunkName), manifest.trunk_bytes > 0);
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    add(manifest.bank_name(i), !manifest.layers[i].checksums.empty());
  }
  return paths;
}

}  // namespace

uint64_t leftover_bytes(const std::string& folder, const Manifest& manifest) {
  uint64_t bytes = 0;
  for (const fs::path& path : leftovers(folder, manifest)) {
    struct stat status = {};
    const bool there = ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
    if (there) bytes += static_cast<uint64_t>(status.st_blocks) * kBlockBytes;
  }
  return bytes;
}

void remove_leftovers(const std::string& folder, const Manifest& manifest) {
  for (const fs::path& path : leftovers(folder, manifest)) {
    std::error_code error;
    fs::remove(path, error);
    if (error) fail(Fault::io, "{}: what an earlier run left cannot be removed: {}", path.string(), error.message());
  }
}

}  // namespace flashmoe
