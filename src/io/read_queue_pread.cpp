#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/thread.h"
#include "io/read_queue.h"
#include "io/read_queue_progress.h"

namespace flashmoe {
namespace {

class PreadQueue final : public ReadQueue {
 public:
  explicit PreadQueue(int n_threads) {
    threads_.reserve(static_cast<size_t>(n_threads));
    try {
      for (int i = 0; i < n_threads; ++i) threads_.emplace_back([this] { serve(); });
    } catch (const Error& error) {
      stop();
      fail(Fault::io, "{}, number {} of {} that read the disk; raise ulimit -u or the pids.max of its cgroup",
           error.what(), threads_.size() + 1, n_threads);
    }
  }

  ~PreadQueue() override { stop(); }

  void submit(std::span<const ReadRequest> requests) override {
    pending_ += static_cast<int>(requests.size());
    {
      const std::lock_guard lock(mutex_);
      for (const ReadRequest& request : requests) backlog_.push(request);
      done_.reserve(static_cast<size_t>(pending_));  // so that growth depends on the load, never on timing
    }
    if (requests.size() == 1) {
      work_.notify_one();
    } else {
      work_.notify_all();
    }
  }

  std::span<const ReadDone> wait(bool block) override {
    handed_.clear();
    handed_.reserve(static_cast<size_t>(pending_));
    if (threads_.empty() && block) read_here();
    {
      std::unique_lock lock(mutex_);
      if (block && pending_ > 0) arrival_.wait(lock, [this] { return !done_.empty(); });
      handed_.swap(done_);
    }
    pending_ -= static_cast<int>(handed_.size());
    return handed_;
  }

  int pending() const override { return pending_; }
  const char* name() const override { return "pread"; }
  int depth() const override { return std::max(1, static_cast<int>(threads_.size())); }

 private:
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (Thread& thread : threads_) thread.join();
  }

  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !backlog_.empty(); });
      if (stopping_) return;
      ReadProgress read(backlog_.pop());
      lock.unlock();
      transfer(read);
      lock.lock();
      done_.push_back(read.done());
      arrival_.notify_one();
    }
  }

  void read_here() {
    if (backlog_.empty() || !done_.empty()) return;
    ReadProgress read(backlog_.pop());
    transfer(read);
    done_.push_back(read.done());
  }

  static void transfer(ReadProgress& read) {
    while (true) {
      const ssize_t n =
          pread(read.request().fd, read.next_dest(), read.next_bytes(), static_cast<off_t>(read.next_offset()));
      const int error = errno;
      if (read.advance(n < 0 ? -error : n)) return;
      if (read.pause_ns() > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(read.pause_ns()));
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;     // there are reads to do, or it is time to stop
  std::condition_variable arrival_;  // done_ is not empty
  GrowingRing<ReadRequest> backlog_;
  std::vector<ReadDone> done_;
  bool stopping_ = false;

  std::vector<ReadDone> handed_;  // the caller's thread alone, as pending_
  int pending_ = 0;
  std::vector<Thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_pread_queue(int n_threads) {
  CHECK(n_threads >= 0);
  return std::make_unique<PreadQueue>(n_threads);
}

}  // namespace flashmoe
