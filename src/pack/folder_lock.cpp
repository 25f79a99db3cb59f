#include "pack/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"

namespace flashmoe {

FolderLock::FolderLock(const std::string& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  if (fd_ >= 0) ::close(fd_);
  fail(Fault::io, "{}: cannot be taken: is another flashmoe pack at work there?", folder);
}

FolderLock::~FolderLock() { ::close(fd_); }

}  // namespace flashmoe
