// A cache that gives slots back while memory is scarce, and takes them again.
#include "experts/cache_size.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/fake_experts.h"

namespace flashmoe {
namespace {

using test::all_arrive;
using test::FakeExperts;
using test::kLayouts;
using test::Layout;
using test::make_fake_experts;
using test::make_streamed;

class CacheSizeTest : public testing::TestWithParam<Layout> {
 protected:
  void take(int layer, const std::vector<int32_t>& picks) {
    Lease lease = source_->acquire(layer, picks);
    ASSERT_TRUE(all_arrive(experts_, layer, picks, lease));
  }
  void step(uint64_t cache_bytes) {
    cache_bytes_ = cache_bytes;
    source_->begin_step();
    for (int layer = 0; layer < 4; ++layer) {
      take(layer, {n_steps_ % 8, (n_steps_ + 3) % 8});
    }
    ++n_steps_;
  }

  FakeExperts experts_ = make_fake_experts(GetParam(), 4, 8, 2);
  StreamedSizes sizes_ = streamed_sizes(experts_.table, 1);
  Budget budget_;
  uint64_t cache_bytes_ = sizes_.full_bytes;
  StreamedOptions options_ = {.read_ahead = ReadAheadChoice::on, .cache_bytes = [this] { return cache_bytes_; }};
  std::unique_ptr<ExpertSource> source_ = make_streamed(experts_, sizes_.full_bytes, 1, 7, budget_, options_);
  int n_steps_ = 0;
};

TEST_P(CacheSizeTest, WhatIsAskedForArrivesWhateverTheSize) {
  for (int i = 0; i < 60; ++i) step(sizes_.full_bytes * static_cast<uint64_t>(i * 7 % 11) / 10);
}

TEST_P(CacheSizeTest, BytesAreGivenBackAndTakenAgain) {
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes);
  EXPECT_EQ(source_->cache_stats().given_back_bytes, 0u);
  EXPECT_EQ(source_->max_picks(), 4 * 8);
  EXPECT_FALSE(source_->wants_guess()) << "every expert has a slot";

  step(sizes_.full_bytes / 2);
  const uint64_t half = source_->cache_stats().given_back_bytes;
  EXPECT_GE(half, sizes_.full_bytes / 2);
  EXPECT_LT(half, sizes_.full_bytes * 3 / 4);
  EXPECT_LT(source_->max_picks(), 4 * 8);
  EXPECT_TRUE(source_->wants_guess());

  step(sizes_.full_bytes);
  EXPECT_EQ(source_->cache_stats().given_back_bytes, 0u);
  EXPECT_EQ(source_->max_picks(), 4 * 8);
}

TEST_P(CacheSizeTest, NeverLessThanOneTokenNeeds) {
  step(0);
  EXPECT_LE(source_->cache_stats().given_back_bytes, sizes_.full_bytes - sizes_.floor_bytes);
  EXPECT_GE(source_->max_picks(), 2);
  step(0);
}

TEST_P(CacheSizeTest, WhatWasReadBeforeShrinkingIsReadAgainWhenItWasGivenBack) {
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes);
  const uint64_t misses = source_->cache_stats().misses;
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes);
  EXPECT_EQ(source_->cache_stats().misses, misses) << "all were in memory";
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes / 2);
  EXPECT_GT(source_->cache_stats().misses, misses);
}

INSTANTIATE_TEST_SUITE_P(Layouts, CacheSizeTest, testing::ValuesIn(kLayouts));

}  // namespace
}  // namespace flashmoe
