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

Prefault::Prefault(std::span<std::byte> memory, int n_threads)
    : memory_(memory), end_(memory.size()), taking_(static_cast<size_t>(n_threads)) {
  try {
    for (size_t i = 0; i < taking_.size(); ++i) threads_.emplace_back([this, i] { work(i); });
  } catch (const Error&) {
    // Then whoever touches the memory first pays for it.
  }
}

Prefault::~Prefault() {
  end_before(memory_.data());
  for (Thread& thread : threads_) thread.join();
}

void Prefault::end_before(const std::byte* at) {
  const uint64_t end = round_down(static_cast<uint64_t>(at - memory_.data()), kPiece);
  std::unique_lock lock(mutex_);
  end_ = std::min(end_, end);
  taken_.wait(lock, [&] { return std::ranges::all_of(taking_, [end](uint64_t piece) { return piece <= end; }); });
}

void Prefault::work(size_t thread) {
  std::unique_lock lock(mutex_);
  while (next_ < end_) {
    const uint64_t at = next_;
    next_ = taking_[thread] = std::min(at + kPiece, end_);
    const uint64_t bytes = next_ - at;
    lock.unlock();
    const bool done = madvise(memory_.data() + at, bytes, MADV_POPULATE_WRITE) == 0;
    lock.lock();
    taking_[thread] = 0;
    taken_.notify_all();
    if (!done) return;
  }
}

}  // namespace flashmoe
