#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"
#include "base/error.h"
#include "base/thread.h"

namespace flashmoe {
namespace {

// Spinning this often (2 ms at 25 ns a pause on Zen 4) before parking bridges the gaps within a token, reads of experts
// included: a worker that has to be woken comes too late for a loop of 50 us.
constexpr int kSpins = 80'000;

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#else
  std::this_thread::yield();
#endif
}

thread_local int index_of_thread = 0;

}  // namespace

struct ThreadPool::Team {
  using Body = FunctionRef<void(int64_t, int64_t)>;

  // The loop that runs, as one word: its number, whether workers may still enter, and how many are inside. A worker
  // that sleeps through a loop is never waited for, so a busy machine costs help, not time.
  static constexpr uint64_t kInside = 0xFFFF;
  static constexpr uint64_t kOpen = kInside + 1;
  static constexpr uint64_t kNumber = kOpen << 1U;
  std::atomic<uint64_t> loop{0};
  std::atomic<uint32_t> wake{0};  // changes with every loop; what parked workers wait on
  std::atomic<int64_t> next{0};
  std::atomic<bool> quit{false};
  int64_t n = 0;
  int64_t grain = 1;
  const Body* body = nullptr;
  std::vector<Thread> workers;

  void take_pieces() {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      (*body)(begin, std::min(n, begin + grain));
    }
  }

  // Joins the current loop if it is still open.
  void help() {
    uint64_t state = loop.load(std::memory_order_acquire);
    while ((state & kOpen) != 0) {
      if (!loop.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      take_pieces();
      loop.fetch_sub(1, std::memory_order_release);
      return;
    }
  }

  void work(int index) {
    index_of_thread = index;
    uint32_t seen = 0;
    for (;;) {
      for (int spins = 0; wake.load(std::memory_order_acquire) == seen; ++spins) {
        if (spins < kSpins) {
          pause_cpu();
        } else {
          wake.wait(seen, std::memory_order_acquire);
        }
      }
      seen = wake.load(std::memory_order_acquire);
      if (quit.load(std::memory_order_relaxed)) return;
      help();
    }
  }

  void stop() {
    quit.store(true, std::memory_order_relaxed);
    wake.fetch_add(1, std::memory_order_release);
    wake.notify_all();
    for (Thread& worker : workers) worker.join();
  }

  void start_loop() {
    const uint64_t number = loop.load(std::memory_order_relaxed) / kNumber + 1;
    next.store(0, std::memory_order_relaxed);
    loop.store(number * kNumber | kOpen, std::memory_order_release);
    wake.fetch_add(1, std::memory_order_release);
    wake.notify_all();
  }

  // Lets nobody in any more, and waits for those inside: they are at most one piece behind.
  void end_loop() {
    uint64_t state = loop.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; (state & kInside) != 0; ++spins) {
      spins < kSpins ? pause_cpu() : std::this_thread::yield();
      state = loop.load(std::memory_order_acquire);
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : team_(std::make_unique<Team>()) {
  CHECK(n_threads >= 1);
  team_->workers.reserve(static_cast<size_t>(n_threads));
  try {
    for (int i = 1; i < n_threads; ++i) team_->workers.emplace_back([team = team_.get(), i] { team->work(i); });
  } catch (const Error& error) {
    const size_t n_started = team_->workers.size() + 1;
    team_->stop();
    fail(Fault::io, "{}, number {} of {}; ask for fewer with --threads", error.what(), n_started + 1, n_threads);
  }
}

ThreadPool::~ThreadPool() { team_->stop(); }

int ThreadPool::size() const { return static_cast<int>(team_->workers.size()) + 1; }

int ThreadPool::thread_index() { return index_of_thread; }

void ThreadPool::parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  CHECK(grain >= 1);
  if (n <= 0) return;
  if (n <= grain || team_->workers.empty()) {
    body(0, n);
    return;
  }
  Team& team = *team_;
  team.n = n;
  team.grain = grain;
  team.body = &body;
  team.start_loop();
  team.take_pieces();
  team.end_loop();
}

}  // namespace flashmoe
