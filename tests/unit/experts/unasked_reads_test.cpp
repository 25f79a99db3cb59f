// What is read before anybody asks: guesses, and the warm-up of an idle source.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "experts/streamed.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

StreamedOptions guessing() { return {.read_ahead = ReadAheadChoice::on}; }

// Half of all experts have a slot.
uint64_t half(const FakeExperts& experts) { return streamed_sizes(experts.table, 1).full_bytes / 2; }

void take(const FakeExperts& experts, ExpertSource& source, int layer, const std::vector<int32_t>& picks) {
  Lease lease = source.acquire(layer, picks);
  ASSERT_TRUE(all_arrive(experts, layer, picks, lease));
}

TEST(Guess, ARightOneIsReadOnceAndCountsAsAMiss) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  ASSERT_TRUE(source->wants_guess());
  take(experts, *source, 0, {1, 2});
  source->guess(1, std::vector<int32_t>{3, 4}, 1);
  take(experts, *source, 1, {3, 4});
  EXPECT_EQ(experts.disk->n_reads(), 4 * 3u);
  EXPECT_EQ(source->cache_stats().misses, 4u);
  EXPECT_EQ(source->cache_stats().hits, 0u);
  const IoStats io = source->io_stats();
  EXPECT_EQ(io.read_ahead.guessed, 2u);
  EXPECT_EQ(io.read_ahead.used, 2u);
  EXPECT_EQ(io.read_ahead.wasted_bytes, 0u);
  EXPECT_EQ(io.bytes_read, 4 * experts.table.at(1, 3).bytes());
  take(experts, *source, 1, {3, 4});
  EXPECT_EQ(source->cache_stats().hits, 2u);
}

TEST(Guess, AWrongOneIsCountedApart) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  source->guess(1, std::vector<int32_t>{3, 4}, 1);
  take(experts, *source, 1, {5, 6});
  const IoStats io = source->io_stats();
  EXPECT_EQ(io.read_ahead.guessed, 2u);
  EXPECT_EQ(io.read_ahead.used, 0u);
  EXPECT_EQ(io.read_ahead.wasted_bytes, 2 * experts.table.at(1, 3).bytes());
  EXPECT_EQ(io.bytes_read, 2 * experts.table.at(1, 5).bytes());
}

// A prompt's picks come in waves where the cache is small.
TEST(Guess, OneOfALaterWaveIsKeptForIt) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  source->guess(1, std::vector<int32_t>{3, 4}, 1);
  {
    const std::vector<int32_t> first = {0, 3}, second = {4, 5};
    Lease wave = source->acquire(1, first);
    Lease following = source->acquire(1, second);
    EXPECT_EQ(following.outcomes()[0], Outcome::guessed);
    ASSERT_TRUE(all_arrive(experts, 1, first, wave));
    ASSERT_TRUE(all_arrive(experts, 1, second, following));
  }
  EXPECT_EQ(experts.disk->n_reads(), 4 * 3u);
  EXPECT_EQ(source->io_stats().read_ahead.used, 2u);
  EXPECT_EQ(source->io_stats().read_ahead.wasted_bytes, 0u);
}

TEST(Guess, OneThatTwoRowsShareIsReadOnce) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  source->guess(1, std::vector<int32_t>{3, 4, 5, 3}, 2);
  take(experts, *source, 1, {3, 4, 5});
  EXPECT_EQ(experts.disk->n_reads(), 3 * 3u);
  EXPECT_EQ(source->io_stats().read_ahead.guessed, 3u);
  EXPECT_EQ(source->io_stats().read_ahead.used, 3u);
}

TEST(Guess, DemandGoesFirstAndWhatIsStaleIsNotRead) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 3, 8, 4);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  const std::vector<int32_t> picks = {0, 1, 2, 3};
  {
    const Lease lease = source->acquire(0, picks);  // on its way
    source->guess(1, picks, 1);
    EXPECT_EQ(source->io_stats().read_ahead.guessed, 0u);
  }
  take(experts, *source, 1, {6, 7});
  EXPECT_LE(source->io_stats().read_ahead.guessed, 2u);
  take(experts, *source, 2, {6, 7});
  source->guess(0, picks, 1);  // all in memory
  EXPECT_LE(source->io_stats().read_ahead.guessed, 2u);
}

TEST(Guess, AFailedOneIsTriedAgainOnDemand) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  experts.disk->fail_at(1, experts.table.at(1, 3).up.parts[0].offset, ENXIO, 1);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, guessing());
  source->guess(1, std::vector<int32_t>{3}, 1);
  take(experts, *source, 0, {0, 1});
  take(experts, *source, 0, {2, 3});
  take(experts, *source, 1, {3});
}

TEST(Guess, IsNotWantedWhereEverythingHasASlot) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, 2 * half(experts), 1, 1, budget, guessing());
  EXPECT_FALSE(source->wants_guess());
}

// Random tokens with guesses of any quality, at the smallest caches: leases are right, and everything can be pinned.
TEST(Guess, NeverChangesWhatLeasesHold) {
  for (const Layout layout : kLayouts) {
    const FakeExperts experts = make_fake_experts(layout, 4, 12, 3, true);
    const StreamedSizes sizes = streamed_sizes(experts.table, 1);
    for (const uint64_t bytes : {sizes.floor_bytes, 2 * sizes.floor_bytes, sizes.full_bytes / 2}) {
      Budget budget;
      const auto source = make_streamed(experts, bytes, 1, 5, budget, guessing());
      std::mt19937 random(3);
      std::vector<int32_t> guess(3), picks;
      for (int step = 0; step < 300; ++step) {
        const int layer = step % 4;
        picks.clear();
        for (int32_t e = 0; e < 12 && picks.size() < 3; ++e) {
          if (random() % 3 == 0) picks.push_back(e);
        }
        Lease lease = source->acquire(layer, picks);
        for (size_t i = 0; i < 3; ++i) guess[i] = static_cast<int32_t>(i * 4 + random() % 4);
        if (random() % 4 != 0) source->guess((layer + 1) % 4, guess, 1);
        ASSERT_TRUE(all_arrive(experts, layer, picks, lease));
      }
      EXPECT_GT(source->io_stats().read_ahead.guessed, 0u);
    }
  }
}

void wait_until_filled(const ExpertSource& source, uint64_t bytes) {
  for (int i = 0; i < 5000 && source.io_stats().warm_up_bytes < bytes; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(WarmUp, AnIdleSourceFillsItself) {
  const FakeExperts experts = make_fake_experts(Layout::gate_up, 3, 8, 2, true);
  for (const uint32_t alignment : {1u, 512u}) {
    Budget budget;
    const uint64_t full = streamed_sizes(experts.table, alignment).full_bytes;
    const auto source = make_streamed(experts, full, alignment, 1, budget, {.warm_up = true});
    wait_until_filled(*source, experts.table.bytes());
    for (int layer = 0; layer < 3; ++layer) take(experts, *source, layer, {0, 1, 2, 3, 4, 5, 6, 7});
    EXPECT_EQ(source->cache_stats().misses, 0u);
    EXPECT_EQ(source->io_stats().bytes_read, 0u);
  }
}

TEST(WarmUp, TheMostUsedComeFirstAndNothingLeavesForThem) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  std::vector<float> rates(16, 0.1F);
  for (const size_t hot : {1u, 3u, 8u, 10u, 13u}) rates[hot] = 0.9F;
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, {.warm_up = true, .rates = rates});
  take(experts, *source, 0, {0, 2});
  wait_until_filled(*source, 6 * experts.table.at(0, 0).bytes());
  take(experts, *source, 0, {0, 1, 2, 3});
  take(experts, *source, 1, {0, 2, 5});
  EXPECT_EQ(source->cache_stats().misses, 2u);  // the first two
}

TEST(WarmUp, WithoutKnowledgeAPartialCacheIsLeftEmpty) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, half(experts), 1, 1, budget, {.warm_up = true});
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(experts.disk->n_reads(), 0u);
}

TEST(WarmUp, LeasesAreRightWhileItGoesOn) {
  const FakeExperts experts = make_fake_experts(Layout::scattered, 4, 32, 4, true);
  Budget budget;
  const auto source =
      make_streamed(experts, streamed_sizes(experts.table, 512).full_bytes, 512, 1, budget, {.warm_up = true});
  std::mt19937 random(4);
  for (int step = 0; step < 60; ++step) {
    const std::vector<int32_t> picks = {static_cast<int32_t>(random() % 16), static_cast<int32_t>(16 + random() % 16)};
    take(experts, *source, step % 4, picks);
    if (step % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
}

TEST(WarmUp, ADiskThatFailsIsNoTroubleUntilSomebodyAsks) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  experts.disk->fail_at(1, experts.table.at(1, 3).up.parts[0].offset, ENXIO, kAlways);
  Budget budget;
  const auto source = make_streamed(experts, 2 * half(experts), 1, 1, budget, {.warm_up = true});
  wait_until_filled(*source, 15 * experts.table.at(0, 0).bytes());
  take(experts, *source, 1, {0, 1, 2, 4});
  Lease lease = source->acquire(1, std::vector<int32_t>{3});
  EXPECT_ANY_THROW(lease.next());
}

TEST(WarmUp, EndsWithTheSource) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 3, 64, 2);
  for (int i = 0; i < 20; ++i) {
    Budget budget;
    const auto source =
        make_streamed(experts, streamed_sizes(experts.table, 1).full_bytes, 1, 1, budget, {.warm_up = true});
    std::this_thread::sleep_for(std::chrono::milliseconds(i * 2));
  }
}

}  // namespace
}  // namespace flashmoe
