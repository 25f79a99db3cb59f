#include "engine/pick_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "support/expect_error.h"
#include "support/fake_experts.h"
#include "support/random.h"

namespace flashmoe {
namespace {

constexpr int kLayers = 4, kExperts = 16, kUsed = 2;

class PickLogTest : public testing::Test {
 protected:
  using Visit = std::function<void(int layer, const std::vector<int32_t>& picks)>;

  // Steps of one row; low numbers are picked more often.
  void decode(int n, const Visit& visit = {}) {
    for (int i = 0; i < n; ++i) {
      begin(1);
      for (int layer = 0; layer < kLayers; ++layer) {
        const auto picks = some_picks();
        if (visit) visit(layer, picks);
        log_.routed(layer, picks, {});
      }
      log_.hidden(kLayers, {});
    }
  }
  // Of `n_wanted` rows the last layer has picks.
  void read_prompt(int n_rows, int n_wanted) {
    begin(n_rows);
    for (int layer = 0; layer < kLayers; ++layer) {
      const int n = layer + 1 == kLayers ? n_wanted : n_rows;
      std::vector<int32_t> all;
      const auto picks = some_picks();
      for (int row = 0; row < n; ++row) all.insert(all.end(), picks.begin(), picks.end());
      if (n > 0) log_.routed(layer, all, {});
    }
    log_.hidden(kLayers, {});
  }
  double hit_rate(double share) const {
    const auto points = log_.hit_rates({&share, 1});
    return points.empty() ? -1 : points.front().hit_rate;
  }

  const FakeExperts experts_ = make_fake_experts(Layout::stacked, kLayers, kExperts, kUsed);
  PickLog log_{experts_.table, 1};

 private:
  void begin(int n_rows) {
    const std::vector<int32_t> tokens(static_cast<size_t>(n_rows));
    const std::vector<flashmoe::Run> runs = {{.n_rows = n_rows}};
    log_.began({tokens, runs});
  }
  int32_t some_expert() { return static_cast<int32_t>(std::min(random_.below(kExperts), random_.below(kExperts))); }
  std::vector<int32_t> some_picks() {
    const int32_t first = some_expert();
    int32_t second = some_expert();
    while (second == first) second = some_expert();
    return {std::min(first, second), std::max(first, second)};
  }

  SplitMix random_{1};
};

TEST_F(PickLogTest, IsWhatACacheOfThatSizeHits) {
  for (const double share : {0.25, 0.5, 0.75}) {
    const auto full_bytes = static_cast<double>(streamed_sizes(experts_.table, 1).full_bytes);
    Budget budget;
    const auto cache = make_streamed(experts_, static_cast<uint64_t>(share * full_bytes), 1, 7, budget,
                                     {.read_ahead = ReadAheadChoice::off});
    const auto ask = [&](int layer, const std::vector<int32_t>& picks) {
      Lease lease = cache->acquire(layer, picks);
      ASSERT_TRUE(all_arrive(experts_, layer, picks, lease));
    };
    decode(300, ask);
    log_.count_from_here();
    const CacheStats before = cache->cache_stats();
    decode(500, ask);
    const CacheStats after = cache->cache_stats();
    const double hits = static_cast<double>(after.hits - before.hits), all = 500.0 * kLayers * kUsed;
    ASSERT_GT(hits, 0.2 * all);
    EXPECT_NEAR(hit_rate(share), hits / all, 0.01) << share;
  }
}

TEST_F(PickLogTest, OfCachesThatWereFull) {
  decode(1);
  const double all = 1, most = 0.9;
  EXPECT_EQ(log_.hit_rates({&all, 1}).front().hit_rate, 1);
  EXPECT_GT(log_.hit_rates({&most, 1}).front().hit_rate, 0.5) << "nothing was picked before";
}

TEST_F(PickLogTest, LargerCachesHitMore) {
  decode(400);
  const std::vector<double> shares = {0.01, 0.2, 0.4, 0.8};
  const auto points = log_.hit_rates(shares);
  ASSERT_EQ(points.size(), 3u) << "a hundredth is less than a layer's picks";
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].share, shares[i + 1]);
    EXPECT_EQ(points[i].compute_s, 0) << "nothing ran";
    EXPECT_GT(points[i].hit_rate, i == 0 ? 0.1 : points[i - 1].hit_rate + 0.02);
  }
}

TEST_F(PickLogTest, PromptsAndWarmingUpAreNotCounted) {
  EXPECT_EQ(hit_rate(0.5), -1);
  for (const int n_wanted : {0, 20, 1, 0}) {
    read_prompt(20, n_wanted);
    EXPECT_EQ(hit_rate(0.5), -1) << "nothing was decoded";
  }
  decode(100);
  EXPECT_GT(hit_rate(0.5), 0);
  log_.count_from_here();
  EXPECT_EQ(hit_rate(0.5), -1);
  decode(1);
  const double of_one = hit_rate(0.5) * kLayers * kUsed;
  EXPECT_NEAR(of_one, std::round(of_one), 1e-9);
}

TEST_F(PickLogTest, ReplayingEndsWhenAskedTo) {
  decode(10);
  const double half = 0.5;
  expect_error([&] { log_.hit_rates({&half, 1}, [] { return false; }); }, Fault::interrupted, {"replaying picks"});
}

TEST_F(PickLogTest, WhatComesAfterItIsFullIsNotLookedAt) {
  constexpr int kRows = 100'000;
  for (size_t bytes = 0; bytes < PickLog::kMostBytes; bytes += kLayers * kUsed * kRows) read_prompt(kRows, kRows);
  log_.count_from_here();
  decode(50);
  EXPECT_EQ(hit_rate(0.5), -1);
}

}  // namespace
}  // namespace flashmoe
