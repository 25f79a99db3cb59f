// Measures what the machine can do at best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace flashmoe {

// Looks at the speed of memory for some 2 ms each, with threads that are at work on it already: a pool of its own would
// first wait for the processors that the workers of the other still spin on.
class RamSampler {
 public:
  // Borrows both. Every page of `memory` was written to.
  RamSampler(ThreadPool& pool, std::span<const std::byte> memory) : pool_(&pool), memory_(memory) {}

  // GB/s of one pass over a part of the memory, each time the next. 0: the memory is too small to tell, since caches
  // would hold much of what is read.
  double sample();

 private:
  ThreadPool* pool_;
  std::span<const std::byte> memory_;
  uint64_t at_ = 0;
};

// What follows ends with Error{interrupted} within a tenth of a second when `keep_going`, which may be empty, says so.

// GB/s at which the pool's threads read `working_set_bytes` of huge pages, much more than caches hold and allocated for
// the occasion: one of the fastest of many passes.
double measure_ram(ThreadPool& pool, uint64_t working_set_bytes, const std::function<bool()>& keep_going);

// Ones in all of the memory: a page that was never written need not be there at all.
void write_pages(std::span<std::byte> memory, const std::function<bool()>& keep_going);

// 10^12 int8 operations (a multiply and an add are two) a second of the table's peak kernel on all threads: the best
// of several passes.
double measure_int8(ThreadPool& pool, const KernelTable& kernels, const std::function<bool()>& keep_going);

}  // namespace flashmoe
