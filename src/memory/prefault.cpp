#include "memory/prefault.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace flashmoe {
namespace {

constexpr uint64_t kPiece = 2 * kMiB;  // a huge page

}  // namespace

Prefault::Prefault(std::span<std::byte> memory, int n_threads) {
  try {
    for (int i = 0; i < n_threads; ++i) threads_.emplace_back([this, memory] { work(memory); });
  } catch (const Error&) {
    // Then whoever touches the memory first pays for it.
  }
}

Prefault::~Prefault() {
  stop_ = true;
  for (Thread& thread : threads_) thread.join();
}

void Prefault::work(std::span<std::byte> memory) {
  while (!stop_) {
    const uint64_t at = next_.fetch_add(kPiece);
    if (at >= memory.size()) return;
    if (madvise(memory.data() + at, std::min(kPiece, memory.size() - at), MADV_POPULATE_WRITE) != 0) return;
  }
}

}  // namespace flashmoe
