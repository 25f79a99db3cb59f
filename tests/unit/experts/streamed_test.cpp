#include "experts/streamed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <numeric>
#include <random>
#include <vector>

#include "support/fake_experts.h"

namespace flashmoe {
namespace {

std::vector<int32_t> random_picks(std::mt19937& random, int n_experts, size_t n) {
  std::vector<int32_t> all(static_cast<size_t>(n_experts));
  std::iota(all.begin(), all.end(), 0);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(n);
  return all;
}

TEST(Streamed, MissesThenHits) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 3, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, streamed_sizes(experts.table, 1).full_bytes, 1, 1, budget);
  const std::vector<int32_t> picks = {5, 2};
  for (int round = 0; round < 2; ++round) {
    Lease lease = source->acquire(1, picks);
    EXPECT_TRUE(all_arrive(experts, 1, picks, lease));
  }
  EXPECT_EQ(source->cache_stats().misses, 2u);
  EXPECT_EQ(source->cache_stats().hits, 2u);
  EXPECT_EQ(source->io_stats().bytes_read, 2 * experts.table.at(1, 5).bytes());
  EXPECT_GT(source->io_stats().busy_ns, 0u);
  EXPECT_EQ(source->io_stats().mode, "fake, buffered, depth 16");
}

TEST(Streamed, RecordsLeaveThePageCacheOnlyWhenAsked) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  const std::vector<int32_t> picks = {5, 2};
  for (const bool drop_behind : {false, true}) {
    Budget budget;
    const auto source =
        make_streamed(experts, streamed_sizes(experts.table, 1).full_bytes, 1, 1, budget, {.drop_behind = drop_behind});
    Lease lease = source->acquire(1, picks);
    ASSERT_TRUE(all_arrive(experts, 1, picks, lease));
    EXPECT_EQ(experts.disk->dropped_bytes(), drop_behind ? source->io_stats().bytes_read : 0);
  }
}

TEST(Streamed, HitsComeFirstAndAtOnce) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 4);
  Budget budget;
  const auto source = make_streamed(experts, streamed_sizes(experts.table, 1).full_bytes, 1, 1, budget);
  const std::vector<int32_t> first = {3, 6};
  {
    Lease lease = source->acquire(0, first);
    ASSERT_TRUE(all_arrive(experts, 0, first, lease));
  }
  const std::vector<int32_t> picks = {1, 6, 2, 3};
  Lease lease = source->acquire(0, picks);
  const auto arrived = lease.next();
  ASSERT_GE(arrived.size(), 2u);
  std::vector<int32_t> hits = {arrived[0], arrived[1]};
  std::sort(hits.begin(), hits.end());
  EXPECT_EQ(hits, (std::vector<int32_t>{1, 3}));
}

TEST(Streamed, WaitGivesAPickOutOfTurn) {
  const FakeExperts experts = make_fake_experts(Layout::per_expert, 2, 8, 4);
  Budget budget;
  const auto source = make_streamed(experts, streamed_sizes(experts.table, 4096).floor_bytes, 4096, 1, budget);
  EXPECT_EQ(source->io_stats().mode, "fake, direct 4096, depth 16");
  const std::vector<int32_t> picks = {7, 0, 4, 1};
  Lease lease = source->acquire(1, picks);
  EXPECT_TRUE(same_as_on_disk(experts, 1, 1, lease.wait(3)));
  EXPECT_TRUE(all_arrive(experts, 1, picks, lease));
  EXPECT_TRUE(lease.next().empty());
}

TEST(Streamed, AnExpertOnItsWayIsNotReadTwice) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  Budget budget;
  const auto source = make_streamed(experts, streamed_sizes(experts.table, 1).full_bytes, 1, 1, budget);
  const std::vector<int32_t> a = {1, 2}, b = {2, 3};
  Lease first = source->acquire(0, a);
  Lease second = source->acquire(0, b);
  EXPECT_TRUE(all_arrive(experts, 0, b, second));
  EXPECT_TRUE(all_arrive(experts, 0, a, first));
  EXPECT_EQ(experts.disk->n_reads(), 3 * 3u);
  EXPECT_EQ(source->cache_stats().misses, 4u);  // it was not in memory when asked for
}

TEST(Streamed, AFullBudgetReadsEverythingOnceOnly) {
  const FakeExperts experts = make_fake_experts(Layout::gate_up, 4, 8, 2, true);
  Budget budget;
  const uint64_t full = streamed_sizes(experts.table, 512).full_bytes;
  const auto source = make_streamed(experts, full + 12345, 512, 1, budget);
  EXPECT_EQ(budget.used(Allotted::expert_cache), full);
  EXPECT_EQ(source->max_picks(), 4 * 8);
  std::mt19937 random(2);
  for (int step = 0; step < 400; ++step) {
    const auto picks = random_picks(random, 8, 2);
    Lease lease = source->acquire(step % 4, picks);
    ASSERT_TRUE(all_arrive(experts, step % 4, picks, lease));
  }
  EXPECT_EQ(source->cache_stats().misses, 32u);
}

TEST(Streamed, AWaveMayFillTheWholeCache) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 16, 2);
  const uint64_t floor_bytes = streamed_sizes(experts.table, 1).floor_bytes;
  Budget budget;
  const auto source = make_streamed(experts, floor_bytes * 3, 1, 1, budget);
  ASSERT_EQ(source->max_picks(), 6);
  std::mt19937 random(2);
  for (int step = 0; step < 50; ++step) {
    const auto picks = random_picks(random, 16, 6);
    Lease lease = source->acquire(step % 2, picks);
    ASSERT_TRUE(all_arrive(experts, step % 2, picks, lease));
  }
}

// Random leases, several alive at once, some abandoned before their reads are done. What a lease has handed out stays
// right until it is released, whatever the others do.
class StreamedProperty : public testing::TestWithParam<std::tuple<Layout, uint32_t, bool>> {};

TEST_P(StreamedProperty, EveryLeaseHoldsTheRightBytesAtAnyBudget) {
  const auto [layout, alignment, mixed] = GetParam();
  const FakeExperts experts = make_fake_experts(layout, 5, 10, 3, mixed);
  const StreamedSizes sizes = streamed_sizes(experts.table, alignment);
  struct Live {
    int layer;
    std::vector<int32_t> picks;
    Lease lease;
    bool complete;
  };
  for (uint32_t step = 0; step <= 4; ++step) {
    const uint64_t bytes = sizes.floor_bytes + (sizes.full_bytes - sizes.floor_bytes) * step / 4;
    Budget budget;
    const auto source = make_streamed(experts, bytes, alignment, 17 + step, budget);
    std::mt19937 random(step);
    std::list<Live> live;
    uint64_t n_asked = 0;
    for (int i = 0; i < 120; ++i) {
      const int layer = static_cast<int>(random() % 5);
      const size_t n = random() % 4;  // none is a valid number of picks
      size_t n_live = n;
      for (const Live& l : live) n_live += l.picks.size();
      for (; n_live > static_cast<size_t>(source->max_picks()); live.pop_front()) n_live -= live.front().picks.size();
      const auto picks = random_picks(random, 10, n);
      live.push_back({layer, picks, source->acquire(layer, picks), false});
      n_asked += n;
      if (random() % 4 != 0) {
        ASSERT_TRUE(all_arrive(experts, layer, picks, live.back().lease));
        live.back().complete = true;
      }
      for (Live& l : live) {
        for (size_t p = 0; l.complete && p < l.picks.size(); ++p) {
          ASSERT_TRUE(same_as_on_disk(experts, l.layer, l.picks[p], l.lease.wait(static_cast<int>(p))));
        }
      }
      if (random() % 3 == 0) live.erase(std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size())));
    }
    live.clear();
    const CacheStats stats = source->cache_stats();
    EXPECT_EQ(stats.hits + stats.misses, n_asked);
  }
}

INSTANTIATE_TEST_SUITE_P(All, StreamedProperty,
                         testing::Combine(testing::ValuesIn(kLayouts), testing::Values(1u, 4096u), testing::Bool()));

}  // namespace
}  // namespace flashmoe
