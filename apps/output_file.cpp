#include "output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "flashmoe/error.h"
#include "terminal.h"

namespace flashmoe {
namespace {

// Follows links, so that the file behind one is replaced and not the link.
std::string resolve(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

bool is_regular_or_absent(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
}

[[noreturn]] void fail_to_write(const std::string& path, int error) {
  throw Error(Fault::io, fmt::format("cannot write {}: {}", path, std::strerror(error)));
}

}  // namespace

bool name_one_file(const std::string& a, const std::string& b) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (a.empty() || b.empty()) return false;
  return fs::equivalent(a, b, error) || fs::weakly_canonical(a, error) == fs::weakly_canonical(b, error);
}

void check_writable(const std::string& path, const std::vector<std::string>& read) {
  for (const std::string& one : read) {
    if (!is_regular_or_absent(path) || !name_one_file(path, one)) continue;
    throw Error(Fault::usage, path + ": this command reads it; give what is to be written another name");
  }
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) fail_to_write(path, EISDIR);
    if (::access(path.c_str(), W_OK) != 0) fail_to_write(path, errno);
    if (!S_ISREG(status.st_mode)) return;
  }
  const std::string target = resolve(path);
  const size_t slash = target.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target.substr(0, slash + 1);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) fail_to_write(path, errno);
}

OutputFile::OutputFile(const std::string& path, unsigned mode) : path_(resolve(path)) {
  check_writable(path);
  if (is_regular_or_absent(path_)) partial_path_ = fmt::format("{}.partial.{}", path_, ::getpid());
  const std::string& target = partial_path_.empty() ? path_ : partial_path_;
  descriptor_ = ::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (descriptor_ < 0) {
    partial_path_.clear();
    fail(errno);
  }
  struct stat old = {};
  if (!partial_path_.empty() && ::stat(path_.c_str(), &old) == 0) ::fchmod(descriptor_, old.st_mode & 07777);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!partial_path_.empty()) ::unlink(partial_path_.c_str());
}

void OutputFile::write(std::string_view bytes) {
  if (!write_all(descriptor_, bytes, path_)) fail(EPIPE);
}

void OutputFile::commit() {
  // A full disk may show only here; what is not on the disk must not take the place of what was.
  if (!partial_path_.empty() && ::fsync(descriptor_) != 0) fail(errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0) fail(errno);
  if (partial_path_.empty()) return;
  if (::rename(partial_path_.c_str(), path_.c_str()) != 0) fail(errno);
  partial_path_.clear();
}

void OutputFile::fail(int error) const { fail_to_write(path_, error); }

}  // namespace flashmoe
