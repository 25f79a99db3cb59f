// A fixed team of threads that runs one loop at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace flashmoe {

class ThreadPool {
 public:
  // n_threads >= 1, the caller included: ThreadPool(1) starts none. Throws Error{io} when the system refuses a thread.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  // Which of size() threads a body runs on: the caller is 0. Of a thread that works for no pool it is 0 as well.
  static int thread_index();

  // Calls body(begin, end) over [0, n) cut into pieces of `grain` (the last may be shorter); returns when all are done.
  // Pieces go to whichever thread is free, so a body must write only what belongs to its range. Bodies must not throw.
  // Runs on the caller alone when there is one piece. One caller at a time. Allocates nothing.
  void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

 private:
  struct Team;
  std::unique_ptr<Team> team_;
};

}  // namespace flashmoe
