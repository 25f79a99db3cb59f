#include "chat/confined_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "flashmoe/error.h"
#include "terminal.h"

namespace flashmoe {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

[[noreturn]] void refuse(const std::string& what, const std::string& path, int error) {
  const bool outside = error == EXDEV;
  throw Error(Fault::io, fmt::format("cannot {} {}: {}", what, path,
                                     outside ? "it leads out of the tools' folder" : std::strerror(error)));
}

// Component by component, none of which may be a link.
int open_without_links(int folder, const std::string& path, int flags) {
  if (path.starts_with('/')) return errno = EXDEV, -1;
  Descriptor at(::openat(folder, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (size_t start = 0; at.get() >= 0;) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (part == "..") return errno = EXDEV, -1;
    const bool last = end == path.size();
    const int how = last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW;
    Descriptor next(::openat(at.get(), part.empty() ? "." : part.c_str(), how | O_CLOEXEC));
    if (next.get() < 0 && (errno == ELOOP || errno == ENOTDIR)) {
      struct stat status = {};
      const bool link = ::fstatat(at.get(), part.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
      errno = link ? EXDEV : errno;
      return -1;
    }
    if (last) return next.release();
    at = std::move(next);
    start = end + 1;
  }
  return -1;
}

std::pair<std::string, std::string> split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

ConfinedFolder::ConfinedFolder(const std::string& path, bool strict) : strict_(strict) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char resolved[PATH_MAX];
  if (descriptor_ < 0 || ::realpath(path.c_str(), resolved) == nullptr) {
    const int error = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    throw Error(Fault::usage, fmt::format("cannot use the folder {} for tools: {}", path, std::strerror(error)));
  }
  path_ = resolved;
}

ConfinedFolder::~ConfinedFolder() { ::close(descriptor_); }

int ConfinedFolder::open(const std::string& path, int flags) const {
  // A file is known by its name inside the folder too.
  std::string inside = path;
  if (inside == path_) inside = ".";
  if (path_ != "/" && inside.starts_with(path_ + "/")) inside = inside.substr(path_.size() + 1);
  if (inside.empty()) return errno = ENOENT, -1;
  if (inside.find('\0') != std::string::npos) return errno = EINVAL, -1;
  if (!strict_) {
    open_how how = {};
    how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const long opened = ::syscall(SYS_openat2, descriptor_, inside.c_str(), &how, sizeof(how));
    if (opened >= 0 || errno != ENOSYS) return static_cast<int>(opened);
  }
  return open_without_links(descriptor_, inside, flags);
}

std::string ConfinedFolder::read(const std::string& path, size_t most_bytes, size_t* total_bytes) const {
  // Not waiting: a pipe without a writer is no file and must not hold anyone up.
  const Descriptor file(open(path, O_RDONLY | O_NONBLOCK));
  if (file.get() < 0) refuse("read", path, errno);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) refuse("read", path, errno);
  if (S_ISDIR(status.st_mode)) refuse("read", path, EISDIR);
  if (!S_ISREG(status.st_mode)) throw Error(Fault::io, fmt::format("cannot read {}: not a regular file", path));
  *total_bytes = static_cast<size_t>(status.st_size);
  std::string bytes(std::min(most_bytes, *total_bytes), '\0');
  size_t n = 0;
  while (n < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + n, bytes.size() - n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse("read", path, errno);
    if (got == 0) break;
    n += static_cast<size_t>(got);
  }
  bytes.resize(n);
  return bytes;
}

int ConfinedFolder::open_folder(const std::string& path, bool make) const {
  int folder = open(path, O_RDONLY | O_DIRECTORY);
  if (folder >= 0 || errno != ENOENT || !make) return folder;
  const auto [parent_path, name] = split(path);
  if (name.empty()) return open_folder(parent_path, true);
  if (name == "." || name == "..") return errno = EXDEV, -1;
  const Descriptor parent(open_folder(parent_path, true));
  if (parent.get() < 0) return -1;
  if (::mkdirat(parent.get(), name.c_str(), 0777) != 0 && errno != EEXIST) return -1;
  return open(path, O_RDONLY | O_DIRECTORY);
}

void ConfinedFolder::write(const std::string& path, const std::string& bytes) const {
  const auto [folder_path, name] = split(path);
  if (name.empty() || name == "." || name == "..") refuse("write", path, EISDIR);
  if (path.find('\0') != std::string::npos || path.size() >= PATH_MAX) refuse("write", path, EINVAL);
  const Descriptor folder(open_folder(folder_path, true));
  if (folder.get() < 0) refuse("write", path, errno);
  // The file takes the name's place, so that a link of that name is replaced and not followed.
  struct stat before = {};
  const bool exists = ::fstatat(folder.get(), name.c_str(), &before, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && !S_ISREG(before.st_mode)) {
    throw Error(Fault::io, fmt::format("cannot write {}: not a regular file", path));
  }
  const std::string partial = fmt::format(".flashmoe.partial.{}", ::getpid());
  ::unlinkat(folder.get(), partial.c_str(), 0);
  const Descriptor file(
      ::openat(folder.get(), partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (file.get() < 0) refuse("write", path, errno);
  try {
    write_all(file.get(), bytes, path);
    if (exists && ::fchmod(file.get(), before.st_mode & 0777) != 0) refuse("write", path, errno);
    if (::renameat(folder.get(), partial.c_str(), folder.get(), name.c_str()) != 0) refuse("write", path, errno);
  } catch (const Error&) {
    ::unlinkat(folder.get(), partial.c_str(), 0);
    throw;
  }
}

std::vector<ConfinedFolder::Entry> ConfinedFolder::list(const std::string& path) const {
  Descriptor folder(open_folder(path.empty() ? "." : path, false));
  if (folder.get() < 0) refuse("list", path, errno);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(folder.get()), ::closedir);
  if (listing == nullptr) refuse("list", path, errno);
  folder.release();
  std::vector<Entry> entries;
  while (const dirent* entry = ::readdir(listing.get())) {
    Entry found;
    found.name = entry->d_name;
    if (found.name == "." || found.name == "..") continue;
    struct stat status = {};
    if (::fstatat(::dirfd(listing.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
      found.kind = S_ISREG(status.st_mode) ? 'f' : S_ISDIR(status.st_mode) ? 'd' : S_ISLNK(status.st_mode) ? 'l' : '?';
      found.n_bytes = static_cast<unsigned long long>(status.st_size);
    }
    entries.push_back(std::move(found));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

}  // namespace flashmoe
