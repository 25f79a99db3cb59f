#include "count_allocations.h"

#include <cstdlib>
#include <new>

size_t n_allocations = 0;

void* operator new(size_t n_bytes) {
  ++n_allocations;
  if (void* p = std::malloc(n_bytes)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
