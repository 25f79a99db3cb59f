#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace flashmoe {
namespace {

// Every index once, pieces of at most `grain` that begin at multiples of it.
void expect_full_cover(ThreadPool& pool, int64_t n, int64_t grain) {
  std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
  std::atomic<bool> aligned{true};
  pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const bool whole = begin == 0 && end == n;  // the caller alone may take all of it at once
    if (!whole && (begin % grain != 0 || end - begin > grain)) aligned = false;
    for (int64_t i = begin; i < end; ++i) visits[static_cast<size_t>(i)].fetch_add(1);
  });
  EXPECT_TRUE(aligned);
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(visits[static_cast<size_t>(i)].load(), 1) << "index " << i << " of " << n;
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.size(), n_threads);
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) expect_full_cover(pool, n, grain);
    }
  }
}

TEST(ThreadPool, ResultsAreVisibleToTheCaller) {
  ThreadPool pool(4);
  std::vector<int64_t> squares(512);
  for (int round = 0; round < 2000; ++round) {
    pool.parallel_for(512, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) squares[static_cast<size_t>(i)] = i * i + round;
    });
    ASSERT_EQ(squares[0], round);
    ASSERT_EQ(squares[511], 511 * 511 + round);
  }
}

TEST(ThreadPool, RunsAfterItsWorkersHaveParked) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // far beyond the time they spin
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t) { sum += begin; });
  }
  EXPECT_EQ(sum.load(), 3 * 4950);
}

TEST(ThreadPool, SharesTheWork) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  pool.parallel_for(2, 1, [&](int64_t, int64_t) {
    ++inside;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (inside.load() < 2 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    if (inside.load() == 2) met = true;
  });
  EXPECT_TRUE(met);
}

TEST(ThreadPool, NoTwoThreadsHaveTheSameIndex) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  std::atomic<bool> apart{true};
  for (int round = 0; round < 200; ++round) {
    pool.parallel_for(30, 1, [&](int64_t, int64_t) {
      const auto index = static_cast<size_t>(ThreadPool::thread_index());
      if (index >= inside.size() || inside[index].fetch_add(1) != 0) {
        apart = false;
        return;
      }
      std::this_thread::yield();
      inside[index].fetch_sub(1);
    });
  }
  EXPECT_TRUE(apart);
  EXPECT_EQ(ThreadPool::thread_index(), 0);
}

TEST(ThreadPool, OnePieceStaysOnTheCaller) {
  ThreadPool pool(4);
  std::thread::id where;
  pool.parallel_for(10, 10, [&](int64_t, int64_t) { where = std::this_thread::get_id(); });
  EXPECT_EQ(where, std::this_thread::get_id());
}

// As where a shell has set `ulimit -s 256`.
TEST(ThreadPool, HasRoomForKernelsWhateverStackThreadsUsuallyGet) {
  pthread_attr_t usual, small;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, size_t{256} << 10);
  ASSERT_EQ(pthread_setattr_default_np(&small), 0);
  ThreadPool pool(2);
  pthread_setattr_default_np(&usual);
  pthread_attr_destroy(&small);
  pthread_attr_destroy(&usual);
  std::atomic<size_t> least{SIZE_MAX};
  std::atomic<int> inside{0};
  const auto caller = std::this_thread::get_id();
  pool.parallel_for(2, 1, [&](int64_t, int64_t) {
    for (++inside; inside.load() < 2;) std::this_thread::yield();  // so that the worker takes one
    if (std::this_thread::get_id() == caller) return;
    pthread_attr_t own;
    size_t bytes = 0;
    pthread_getattr_np(pthread_self(), &own);
    pthread_attr_getstacksize(&own, &bytes);
    pthread_attr_destroy(&own);
    least = bytes;
  });
  EXPECT_GE(least.load(), size_t{1} << 20);
  EXPECT_LT(least.load(), SIZE_MAX);
}

TEST(ThreadPool, StopsWithoutHavingWorked) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(1 + i % 4);
}

TEST(ThreadPoolDeathTest, RefusesNonsense) {
  EXPECT_DEATH(ThreadPool(0), "n_threads >= 1");
  ThreadPool pool(1);
  EXPECT_DEATH(pool.parallel_for(1, 0, [](int64_t, int64_t) {}), "grain >= 1");
}

}  // namespace
}  // namespace flashmoe
