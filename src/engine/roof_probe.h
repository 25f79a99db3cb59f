// Measures what the machine can do at best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace flashmoe {

// GB/s at which the pool's threads read `memory`, much more than caches hold: one of the fastest of many passes.
double measure_ram(ThreadPool& pool, std::span<const std::byte> memory);
// The same with as many bytes of huge pages, allocated for the occasion.
double measure_ram(ThreadPool& pool, uint64_t working_set_bytes);

// 10^12 int8 operations (a multiply and an add are two) a second of the table's peak kernel on all threads: the best
// of several passes.
double measure_int8(ThreadPool& pool, const KernelTable& kernels);

}  // namespace flashmoe
