#include "pack/destination.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "pack/source_shards.h"

namespace flashmoe {

namespace fs = std::filesystem;

void refuse_same_place(const PackOptions& options) {
  if (options.destination.empty()) fail(Fault::usage, "the folder to pack into is missing");
  std::error_code error;
  const fs::path source = fs::weakly_canonical(options.source, error);
  const fs::path folder = fs::is_directory(source, error) ? source : source.parent_path();
  const fs::path destination = fs::weakly_canonical(options.destination, error);
  if (destination == source || (destination == folder && fs::is_directory(options.destination, error))) {
    fail(Fault::usage, "{}: is where the source is; pack into another folder", options.destination);
  }
}

void refuse_packed(const std::string& folder) {
  if (!is_packed(folder)) return;
  forget_source(folder);
  fail(Fault::usage, "{}: is packed already; check it with --verify, or give another folder", folder);
}

uint64_t free_bytes(const std::string& folder) {
  struct statvfs status = {};
  if (::statvfs(folder.c_str(), &status) != 0) {
    fail(Fault::io, "{}: cannot tell its free space: {}", folder, std::generic_category().message(errno));
  }
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

int why_not_writable(const std::string& folder) {
  return ::access((folder + "/.").c_str(), W_OK | X_OK) == 0 ? 0 : errno;
}

}  // namespace flashmoe
