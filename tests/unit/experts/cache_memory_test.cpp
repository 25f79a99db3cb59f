// A cache that gives slots back while others need their memory, and takes them again.
#include "experts/cache_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "experts/trace_replay.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

class CacheMemoryTest : public testing::TestWithParam<Layout> {
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
  Budget budget_, small_budget_;
  uint64_t most_bytes_ = sizes_.full_bytes, cache_bytes_ = most_bytes_;
  StreamedOptions options_ = {.read_ahead = ReadAheadChoice::on,
                              .missing_bytes = [this] { return most_bytes_ - std::min(most_bytes_, cache_bytes_); }};
  std::unique_ptr<ExpertSource> source_ = make_streamed(experts_, sizes_.full_bytes, 1, 7, budget_, options_);
  int n_steps_ = 0;
};

TEST_P(CacheMemoryTest, WhatIsAskedForArrivesWhateverTheSize) {
  for (int i = 0; i < 60; ++i) step(sizes_.full_bytes * static_cast<uint64_t>(i * 7 % 11) / 10);
}

TEST_P(CacheMemoryTest, BytesAreGivenBackAndTakenAgain) {
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

TEST_P(CacheMemoryTest, NeverLessThanOneTokenNeeds) {
  step(0);
  EXPECT_LE(source_->cache_stats().given_back_bytes, sizes_.full_bytes - sizes_.floor_bytes);
  EXPECT_GE(source_->max_picks(), 2);
  step(0);
}

// What a trace tells of a run is enough to find the same hits again.
TEST_P(CacheMemoryTest, IsReplayedAsItWas) {
  options_.read_ahead = ReadAheadChoice::off;
  const uint64_t most = sizes_.floor_bytes + (sizes_.full_bytes - sizes_.floor_bytes) * 2 / 3;
  most_bytes_ = cache_bytes_ = most;
  source_ = make_streamed(experts_, most, 1, 7, small_budget_, options_);
  TraceHeader header;
  header.n_layers = 4;
  header.n_experts = 8;
  header.n_used = 2;
  header.has_given_back = true;
  header.classes = slot_classes(experts_.table, 1);
  share_out(header.classes, most);
  const auto replay =
      make_replay_cache(CachePolicy::two_timescale, header, header.classes, GivenBack::as_recorded, nullptr);
  const auto lru = make_replay_cache(CachePolicy::lru, header, header.classes, GivenBack::as_recorded, nullptr);
  std::vector<int32_t> count(8);
  uint64_t n_replayed = 0, n_of_lru = 0, n_shrunk = 0;
  int32_t fewest = 0, n_slots = 0;
  for (const SlotClass& slots : header.classes) n_slots += slots.n_slots;
  for (int i = 0; i < 200; ++i) {
    cache_bytes_ = i % 40 < 20 ? most : most / 2 + static_cast<uint64_t>(i % 7) * most / 20;
    source_->begin_step();
    TraceStep traced{.decode = true, .n_rows = 1};
    traced.given_back.assign(source_->slots_given_back().begin(), source_->slots_given_back().end());
    n_shrunk += traced.given_back.front() > 0 ? 1 : 0;
    traced.layers.resize(4);
    for (int layer = 0; layer < 4; ++layer) {
      const int32_t first = (i * i + layer) % 8, second = (first + 1 + (i / 3 + layer) % 7) % 8;
      traced.layers[static_cast<size_t>(layer)].experts = {first, second};
      traced.layers[static_cast<size_t>(layer)].group(count);
      take(layer, {std::min(first, second), std::max(first, second)});
    }
    ReplayMisses missed;
    for (size_t layer = 0; layer < 4; ++layer) {
      replay->pick(traced, layer, missed);
      n_replayed += missed.n();
      lru->pick(traced, layer, missed);
      n_of_lru += missed.n();
    }
    int32_t held = 0;
    for (int e = 0; e < 32; ++e) held += lru->holds(e / 8, e % 8) ? 1 : 0;
    fewest = n_slots;
    for (const int32_t n : traced.given_back) fewest -= n;
    EXPECT_LE(held, fewest);
  }
  EXPECT_GT(n_shrunk, 50u);
  EXPECT_EQ(n_replayed, source_->cache_stats().misses);
  EXPECT_GT(n_of_lru, n_replayed / 2);
}

TEST_P(CacheMemoryTest, WhatWasReadBeforeShrinkingIsReadAgainWhenItWasGivenBack) {
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes);
  const uint64_t misses = source_->cache_stats().misses;
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes);
  EXPECT_EQ(source_->cache_stats().misses, misses) << "all were in memory";
  for (int i = 0; i < 8; ++i) step(sizes_.full_bytes / 2);
  EXPECT_GT(source_->cache_stats().misses, misses);
}

class LentMemoryTest : public testing::TestWithParam<Layout> {
 protected:
  LentMemoryTest() {
    budget_.allot(Allotted::kv_cache, lent_bytes_ + 1000);
    budget_.lend(lent_bytes_);
    source_ = make_streamed(experts_, own_bytes_, 1, 7, budget_, {.read_ahead = ReadAheadChoice::on, .warm_up = true});
  }
  void step() {
    source_->begin_step();
    for (int layer = 0; layer < 4; ++layer) {
      const std::vector<int32_t> picks = {n_steps_ % 8, (n_steps_ + 3) % 8};
      const std::vector<int32_t> next = {(n_steps_ + 1) % 8, (n_steps_ + 4) % 8};
      Lease lease = source_->acquire(layer, picks);
      if (layer < 3) source_->guess(layer + 1, next, 1);
      ASSERT_TRUE(all_arrive(experts_, layer, picks, lease));
    }
    ++n_steps_;
    EXPECT_EQ(budget_.used(Allotted::expert_cache), source_->cache_stats().bytes);
    EXPECT_LE(source_->cache_stats().bytes, budget_.expert_cache_limit());
  }

  FakeExperts experts_ = make_fake_experts(GetParam(), 4, 8, 2);
  StreamedSizes sizes_ = streamed_sizes(experts_.table, 1);
  uint64_t own_bytes_ = sizes_.floor_bytes + (sizes_.full_bytes - sizes_.floor_bytes) / 4;
  uint64_t lent_bytes_ = (sizes_.full_bytes - sizes_.floor_bytes) / 2;
  Budget budget_;
  std::unique_ptr<ExpertSource> source_;
  int n_steps_ = 0;
};

TEST_P(LentMemoryTest, HoldsExpertsUntilItIsClaimed) {
  for (int i = 0; i < 8; ++i) step();
  const uint64_t slot = sizes_.floor_bytes / 2;
  const CacheStats all = source_->cache_stats();
  EXPECT_GT(all.bytes + 2 * slot, own_bytes_ + lent_bytes_);
  EXPECT_GT(all.lent_bytes + 2 * slot, lent_bytes_);
  EXPECT_EQ(all.given_back_bytes, 0u) << "memory is not short";

  ASSERT_TRUE(budget_.claim(Allotted::kv_cache, lent_bytes_ / 2));
  EXPECT_LE(budget_.used(Allotted::expert_cache), own_bytes_ + lent_bytes_ - lent_bytes_ / 2) << "at once";
  for (int i = 0; i < 8; ++i) step();
  EXPECT_GT(source_->cache_stats().lent_bytes, 0u);

  ASSERT_TRUE(budget_.claim(Allotted::kv_cache, lent_bytes_ - lent_bytes_ / 2 + 1000));
  EXPECT_LE(budget_.used(Allotted::expert_cache), own_bytes_);
  for (int i = 0; i < 8; ++i) step();
  EXPECT_EQ(source_->cache_stats().lent_bytes, 0u);
  EXPECT_GE(source_->max_picks(), 2);

  budget_.release(Allotted::kv_cache, lent_bytes_ + 1000);
  for (int i = 0; i < 8; ++i) step();
  EXPECT_EQ(source_->cache_stats().bytes, all.bytes);
}

TEST_P(LentMemoryTest, IsGivenBackWhileReadsAreOnTheirWay) {
  uint64_t claimed = 0;
  for (int i = 0; i < 200; ++i) {
    step();
    const auto wanted = static_cast<uint64_t>(i * 7 % 11) * lent_bytes_ / 10;
    ASSERT_TRUE(wanted <= claimed || budget_.claim(Allotted::kv_cache, wanted - claimed));
    if (wanted < claimed) budget_.release(Allotted::kv_cache, claimed - wanted);
    claimed = wanted;
    EXPECT_LE(budget_.used(Allotted::expert_cache), budget_.expert_cache_limit());
  }
}

TEST_P(LentMemoryTest, NobodyIsAskedOnceTheCacheIsGone) {
  step();
  source_.reset();
  EXPECT_EQ(budget_.used(Allotted::expert_cache), 0u);
  EXPECT_TRUE(budget_.claim(Allotted::kv_cache, lent_bytes_));
}

INSTANTIATE_TEST_SUITE_P(Layouts, LentMemoryTest, testing::ValuesIn(kLayouts));
INSTANTIATE_TEST_SUITE_P(Layouts, CacheMemoryTest, testing::ValuesIn(kLayouts));

}  // namespace
}  // namespace flashmoe
