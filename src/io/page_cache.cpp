#include "io/page_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/bytes.h"

namespace flashmoe {
namespace {

// Of memory: what mincore() counts in.
uint64_t page_bytes() {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

PageCache::PageCache(const File& file) : file_(file) {
  if (file.size() == 0) return;
  void* mapping = ::mmap(nullptr, file.size(), PROT_READ, MAP_SHARED, file.buffered_fd(), 0);
  if (mapping != MAP_FAILED) data_ = static_cast<std::byte*>(mapping);
}

PageCache::~PageCache() {
  if (data_ != nullptr) ::munmap(data_, file_.size());
}

size_t PageCache::count(uint64_t offset, uint64_t bytes) {
  const uint64_t first = round_down(offset, page_bytes()), length = offset + bytes - first;
  resident_.resize((length + page_bytes() - 1) / page_bytes());
  if (data_ == nullptr || ::mincore(data_ + first, length, resident_.data()) != 0) return resident_.size();
  return static_cast<size_t>(
      std::count_if(resident_.begin(), resident_.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

bool PageCache::drop(uint64_t offset, uint64_t bytes) {
  file_.drop_page_cache(offset, bytes);
  return count(offset, bytes) == 0;
}

double PageCache::share(int most_pages) {
  const uint64_t n_pages = (file_.size() + page_bytes() - 1) / page_bytes();
  const uint64_t n = std::min(n_pages, static_cast<uint64_t>(most_pages));
  uint64_t n_there = 0;
  for (uint64_t i = 0; i < n; ++i) n_there += count(n_pages * i / n * page_bytes(), 1);
  return n == 0 ? 1 : static_cast<double>(n_there) / static_cast<double>(n);
}

}  // namespace flashmoe
