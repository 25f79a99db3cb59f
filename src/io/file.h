// A file opened for reading; the seam where tests put failing disks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace flashmoe {

class File {
 public:
  virtual ~File() = default;
  virtual const std::string& path() const = 0;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset`, through the page cache. Throws Error{io} (message: path, offset, reason), also when the
  // file ends before.
  virtual void read(uint64_t offset, std::span<std::byte> out) const = 0;
  // Descriptors for read queues: buffered, and O_DIRECT or -1 where the file system refuses it.
  virtual int buffered_fd() const = 0;
  virtual int direct_fd() const = 0;
  // Whether the file is no longer what was opened: cut short, written to, or another one lies at its path.
  virtual bool has_changed() const { return false; }
  // Tells the kernel that pages of this part of the file, by default all of it, will not be needed again.
  // 0 bytes: to its end.
  virtual void drop_page_cache(uint64_t offset, uint64_t bytes) const = 0;
  void drop_page_cache() const { drop_page_cache(0, 0); }
};

// Throws Error{io} with the reason: missing, a folder, no permission.
std::shared_ptr<File> open_file(const std::string& path);

}  // namespace flashmoe
