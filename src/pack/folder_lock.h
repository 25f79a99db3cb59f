// One packer at a time in a folder.
#pragma once

#include <string>

namespace flashmoe {

// Keeps other packers out of a folder while it lives.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

}  // namespace flashmoe
