#include "count_allocations.h"

#include <cstdlib>
#include <new>

size_t n_allocations = 0;

void* operator new(size_t n_bytes, const std::nothrow_t&) noexcept {
  ++n_allocations;
  return std::malloc(n_bytes);
}
void* operator new(size_t n_bytes) {
  if (void* p = operator new(n_bytes, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
