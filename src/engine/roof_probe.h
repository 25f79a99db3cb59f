// Measures what the machine can do at best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace flashmoe {

// All of these end with Error{interrupted} within a tenth of a second when `keep_going`, which may be empty, says so.

// GB/s at which the pool's threads read `memory`, much more than caches hold: one of the fastest of many passes.
double measure_ram(ThreadPool& pool, std::span<const std::byte> memory, const std::function<bool()>& keep_going);
// The same with as many bytes of huge pages, allocated for the occasion.
double measure_ram(ThreadPool& pool, uint64_t working_set_bytes, const std::function<bool()>& keep_going);

// Ones in all of the memory: a page that was never written need not be there at all.
void write_pages(std::span<std::byte> memory, const std::function<bool()>& keep_going);

// 10^12 int8 operations (a multiply and an add are two) a second of the table's peak kernel on all threads: the best
// of several passes.
double measure_int8(ThreadPool& pool, const KernelTable& kernels, const std::function<bool()>& keep_going);

}  // namespace flashmoe
