#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

class PosixFile final : public File {
 public:
  PosixFile(std::string path, const struct stat& opened, int buffered, int direct)
      : path_(std::move(path)), opened_(opened), buffered_(buffered), direct_(direct) {}
  ~PosixFile() override {
    ::close(buffered_);
    if (direct_ >= 0) ::close(direct_);
  }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  const std::string& path() const override { return path_; }
  uint64_t size() const override { return static_cast<uint64_t>(opened_.st_size); }
  int buffered_fd() const override { return buffered_; }
  int direct_fd() const override { return direct_; }

  void read(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      // Linux transfers at most 2 GiB - 4 KiB at once.
      const size_t want = std::min<size_t>(out.size(), kGiB);
      const ssize_t got = offset > static_cast<uint64_t>(INT64_MAX)
                              ? 0
                              : ::pread(buffered_, out.data(), want, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(Fault::io, "{}: reading {} bytes at offset {}: {}", path_, out.size(), offset, reason(errno));
      if (got == 0) {
        fail(Fault::io, "{}: reading at offset {}: the file ended {} bytes early; was it cut short or replaced?", path_,
             offset, out.size());
      }
      offset += static_cast<uint64_t>(got);
      out = out.subspan(static_cast<size_t>(got));
    }
  }

  // A path that leads nowhere any more is no change: what was opened is still there to be read.
  bool has_changed() const override {
    struct stat now = {}, there = {};
    if (::fstat(buffered_, &now) != 0 || now.st_size != opened_.st_size ||
        now.st_mtim.tv_sec != opened_.st_mtim.tv_sec || now.st_mtim.tv_nsec != opened_.st_mtim.tv_nsec) {
      return true;
    }
    return ::stat(path_.c_str(), &there) == 0 && (there.st_ino != opened_.st_ino || there.st_dev != opened_.st_dev);
  }

  void drop_page_cache(uint64_t offset, uint64_t bytes) const override {
    ::posix_fadvise(buffered_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  }

 private:
  std::string path_;
  struct stat opened_;
  int buffered_;
  int direct_;
};

}  // namespace

std::shared_ptr<File> open_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) fail(Fault::io, "cannot open a path that contains a zero byte");
  // O_NONBLOCK: a named pipe must be refused below, not waited for. Regular files ignore it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(Fault::io, "{}: cannot open: {}", path, reason(errno));
  struct stat status = {};
  const int stat_error = ::fstat(fd, &status) == 0 ? 0 : errno;
  if (stat_error != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    if (stat_error != 0) fail(Fault::io, "{}: cannot read its size: {}", path, reason(stat_error));
    if (S_ISDIR(status.st_mode)) fail(Fault::io, "{}: is a folder; give the path of a file", path);
    fail(Fault::io, "{}: is a device, pipe or socket; give the path of a regular file", path);
  }
  const int direct = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  return std::make_shared<PosixFile>(path, status, fd, direct);
}

}  // namespace flashmoe
