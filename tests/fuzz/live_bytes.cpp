#include "live_bytes.h"

#include <malloc.h>

#include <cstdlib>
#include <new>

// The tests of this folder run on one thread, so plain counters do.
namespace {
size_t live = 0, peak = 0;
}

namespace flashmoe {
size_t live_bytes() { return live; }
size_t peak_live_bytes() { return peak; }
void reset_peak_live_bytes() { peak = live; }
}  // namespace flashmoe

void* operator new(size_t n_bytes, const std::nothrow_t&) noexcept {
  void* memory = std::malloc(n_bytes == 0 ? 1 : n_bytes);
  if (memory == nullptr) return nullptr;
  live += malloc_usable_size(memory);
  if (live > peak) peak = live;
  return memory;
}
void* operator new(size_t n_bytes) {
  if (void* memory = operator new(n_bytes, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  live -= malloc_usable_size(memory);
  std::free(memory);
}
void* operator new[](size_t n_bytes) { return operator new(n_bytes); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory, size_t) noexcept { operator delete(memory); }
