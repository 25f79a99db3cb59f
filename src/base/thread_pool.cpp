#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"

namespace flashmoe {
namespace {

// Spinning this often (some 50 us) before parking bridges the gap between two stages of a token.
constexpr int kSpins = 4000;

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

struct ThreadPool::Team {
  using Body = FunctionRef<void(int64_t, int64_t)>;

  // The current loop; a new value of `round` starts it.
  std::atomic<uint32_t> round{0};
  std::atomic<int64_t> next{0};
  std::atomic<int> unfinished{0};  // workers that have not left the current loop
  std::atomic<bool> quit{false};
  int64_t n = 0;
  int64_t grain = 1;
  const Body* body = nullptr;
  std::vector<std::thread> workers;

  void take_pieces() {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      (*body)(begin, std::min(n, begin + grain));
    }
  }

  void work() {
    uint32_t seen = 0;
    for (;;) {
      int spins = 0;
      while (round.load(std::memory_order_acquire) == seen) {
        if (++spins < kSpins) {
          pause_cpu();
        } else {
          round.wait(seen, std::memory_order_acquire);
        }
      }
      seen = round.load(std::memory_order_acquire);
      if (quit.load(std::memory_order_relaxed)) return;
      take_pieces();
      unfinished.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : team_(std::make_unique<Team>()) {
  CHECK(n_threads >= 1);
  for (int i = 1; i < n_threads; ++i) team_->workers.emplace_back([team = team_.get()] { team->work(); });
}

ThreadPool::~ThreadPool() {
  team_->quit.store(true, std::memory_order_relaxed);
  team_->round.fetch_add(1, std::memory_order_release);
  team_->round.notify_all();
  for (std::thread& worker : team_->workers) worker.join();
}

int ThreadPool::size() const { return static_cast<int>(team_->workers.size()) + 1; }

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
  team.next.store(0, std::memory_order_relaxed);
  team.unfinished.store(static_cast<int>(team.workers.size()), std::memory_order_relaxed);
  team.round.fetch_add(1, std::memory_order_release);
  team.round.notify_all();
  team.take_pieces();
  // The workers are at most one piece behind; a waiting caller that parks would cost more than it saves, except when
  // there are fewer CPUs than threads.
  for (int spins = 0; team.unfinished.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      pause_cpu();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace flashmoe
