// What the kernel keeps of a file in its page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/file.h"

namespace flashmoe {

// Seen through a mapping that is never touched. Where the kernel does not tell (it may ask for write access to the
// file), everything counts as cached. Not for several threads at once.
class PageCache {
 public:
  explicit PageCache(const File& file);  // which must outlive this object
  ~PageCache();
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  // Drops the pages of the range; whether none of them is left.
  bool drop(uint64_t offset, uint64_t bytes);
  // 0 to 1: how many of at most so many pages, spread evenly over the file, are there.
  double share(int most_pages);

 private:
  // Of the pages of the range.
  size_t count(uint64_t offset, uint64_t bytes);

  const File& file_;
  std::byte* data_ = nullptr;
  std::vector<unsigned char> resident_;
};

}  // namespace flashmoe
