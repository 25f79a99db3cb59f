// Takes memory from the system before it is needed, on threads of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread.h"

namespace flashmoe {

// A page that is touched for the first time is cleared by the kernel, which costs whoever touches it: 0.1 s a GB, and
// some seconds a GB where a virtual machine gets it from its host. This does it from front to back, while others
// already use the memory; what it holds stays as it is. Does nothing where the kernel cannot (before Linux 5.14).
class Prefault {
 public:
  Prefault() = default;
  Prefault(std::span<std::byte> memory, int n_threads);
  ~Prefault();  // stops
  Prefault(const Prefault&) = delete;
  Prefault& operator=(const Prefault&) = delete;

 private:
  void work(std::span<std::byte> memory);

  std::atomic<uint64_t> next_{0};
  std::atomic<bool> stop_{false};
  std::vector<Thread> threads_;
};

}  // namespace flashmoe
