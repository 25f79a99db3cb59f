// A thread whose stack does not depend on the shell's `ulimit -s`.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace flashmoe {

// As std::thread otherwise. Kernels keep their panels on the stack, up to 800 KB; pages that nobody touches cost
// nothing.
class Thread {
 public:
  static constexpr size_t kStackBytes = size_t{4} << 20;

  Thread() = default;
  // Throws Error{io} when the system refuses a thread. Work must not throw.
  explicit Thread(std::function<void()> work);
  ~Thread();  // it must have been joined
  Thread(Thread&& other) noexcept = default;
  Thread& operator=(Thread&& other) noexcept;

  bool joinable() const { return work_ != nullptr; }
  void join();

 private:
  std::unique_ptr<std::function<void()>> work_;  // while it has a thread
  pthread_t id_ = {};
};

}  // namespace flashmoe
