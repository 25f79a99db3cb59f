#include "pack/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace flashmoe {
namespace {

constexpr off_t kMostUnderWay = 64 << 20;  // bytes on their way to the disk

// An errno; 0: done.
int sync(const char* path, int flags) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) return errno;
  const int error = ::fsync(fd) != 0 ? errno : 0;
  ::close(fd);
  return error;
}

void complain_unless_synced(const std::string& path, int error) {
  if (error == 0) return;
  fail(Fault::io, "{}: cannot be brought to the disk for good: {}; is the disk sound?", path,
       std::generic_category().message(error));
}

}  // namespace

DurableFile::DurableFile(std::string path, uint64_t bytes) : path_(std::move(path)), partial_(path_ + ".partial") {
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) complain("creating it", errno);
  const auto size = static_cast<off_t>(bytes);
  const int error = size > 0 && ::fallocate(fd_, 0, 0, size) != 0 ? errno : 0;
  if (error == 0) return;
  // File systems that cannot reserve find out while writing.
  const int other = error != EOPNOTSUPP ? error : ::ftruncate(fd_, size) != 0 ? errno : 0;
  if (other == 0) return;
  ::close(fd_);
  ::unlink(partial_.c_str());
  complain("reserving its space", other);
}

DurableFile::~DurableFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(partial_.c_str());
}

void DurableFile::complain(const char* what, int error) const {
  const char* advice =
      error == ENOSPC || error == EDQUOT ? "; make room and give the same command again: it goes on"
      : error == EFBIG ? "; raise 'ulimit -f', or use a file system with larger files, and give the same command again"
                       : "";
  fail(Fault::io, "{}: {}: {}{}", path_, what, std::generic_category().message(error), advice);
}

void DurableFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  const auto begin = static_cast<off_t>(offset), n_bytes = static_cast<off_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) complain("writing to it", errno);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  // Sends it on its way to the disk, and waits for what was sent long before: what is still under way at the end is
  // what commit() waits for, while nothing is read. A failure is told once, here or to commit().
  ::sync_file_range(fd_, begin, n_bytes, SYNC_FILE_RANGE_WRITE);
  const off_t arrived = static_cast<off_t>(offset) - kMostUnderWay;
  if (arrived < arrived_ + kMostUnderWay / 2) return;
  constexpr unsigned kWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(fd_, arrived_, arrived - arrived_, kWait) != 0 && errno != ENOSYS && errno != EINVAL) {
    complain("writing to it", errno);
  }
  arrived_ = arrived;
}

void DurableFile::commit() {
  if (::fsync(fd_) != 0) complain("writing to it", errno);
  ::close(fd_);
  fd_ = -1;
  if (::rename(partial_.c_str(), path_.c_str()) != 0) complain("renaming it", errno);
  sync_folder(std::filesystem::path(path_).parent_path().string(), Sync::if_possible);
}

void write_durably(const std::string& path, const std::string& text) {
  DurableFile file(path, 0);
  file.write(0, std::as_bytes(std::span(text)));
  file.commit();
}

void sync_file(const std::string& path) { complain_unless_synced(path, sync(path.c_str(), 0)); }

void sync_folder(const std::string& folder, Sync how) {
  const int error = sync(folder.empty() ? "." : folder.c_str(), O_DIRECTORY);
  const bool is_unknown = error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
  if (how == Sync::surely || !is_unknown) complain_unless_synced(folder, error);
}

}  // namespace flashmoe
