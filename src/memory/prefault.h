// Takes memory from the system before it is needed, on threads of its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "base/thread.h"

namespace flashmoe {

// A page that is touched for the first time is cleared by the kernel, which costs whoever touches it: 0.1 s a GB, and
// some seconds a GB where a virtual machine gets it from its host. This does it from front to back, while others
// already use the memory, which begins with a huge page; what it holds stays as it is. Does nothing where the kernel
// cannot (before Linux 5.14).
class Prefault {
 public:
  Prefault(std::span<std::byte> memory, int n_threads);
  ~Prefault();  // stops
  Prefault(const Prefault&) = delete;
  Prefault& operator=(const Prefault&) = delete;

  // Once it returns, no page from `at` on is taken any more, nor one that is part of a huge page with it. Any thread.
  void end_before(const std::byte* at);

 private:
  void work(size_t thread);

  const std::span<std::byte> memory_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable taken_;
  uint64_t next_ = 0, end_ = 0;   // in memory_
  std::vector<uint64_t> taking_;  // [threads] where the piece ends that the thread takes; 0: none
  std::vector<Thread> threads_;
};

}  // namespace flashmoe
