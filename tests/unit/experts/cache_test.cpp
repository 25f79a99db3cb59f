#include "experts/cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace flashmoe {
namespace {

std::vector<int32_t> ids(std::initializer_list<int32_t> values) { return values; }

// One token's picks of one layer, without a thought for reading.
int pass(ExpertCache& cache, int layer, const std::vector<int32_t>& experts) {
  cache.use(layer, Picks(experts));
  std::vector<int> slots;
  int hits = 0;
  for (const int32_t expert : experts) {
    const int slot = cache.find(layer, expert);
    if (slot == ExpertCache::kNoSlot) continue;
    cache.pin(slot);
    slots.push_back(slot);
    ++hits;
  }
  for (const int32_t expert : experts) {
    if (cache.find(layer, expert) == ExpertCache::kNoSlot) slots.push_back(cache.take(layer, expert));
  }
  for (const int slot : slots) cache.unpin(slot);
  return hits;
}

TEST(Cache, FillsEmptySlotsBeforeItEvicts) {
  ExpertCache cache(2, 4, {{{0, 1}, 8}});
  for (int layer = 0; layer < 2; ++layer) EXPECT_EQ(pass(cache, layer, ids({0, 1, 2, 3})), 0);
  for (int layer = 0; layer < 2; ++layer) EXPECT_EQ(pass(cache, layer, ids({3, 1, 2, 0})), 4);
}

TEST(Cache, NeverEvictsWhatIsPinned) {
  ExpertCache cache(1, 8, {{{0}, 2}});
  const int a = cache.take(0, 0), b = cache.take(0, 1);
  EXPECT_NE(a, b);
  EXPECT_EQ(cache.take(0, 2), ExpertCache::kNoSlot);
  cache.pin(a);
  cache.unpin(a);
  EXPECT_EQ(cache.take(0, 2), ExpertCache::kNoSlot);
  cache.unpin(b);
  EXPECT_EQ(cache.take(0, 2), b);
  EXPECT_EQ(cache.find(0, 1), ExpertCache::kNoSlot);
  EXPECT_EQ(cache.find(0, 0), a);
  EXPECT_EQ(cache.held(b).expert, 2);
}

TEST(Cache, WhatIsForgottenIsNotFoundAndItsSlotComesBack) {
  ExpertCache cache(1, 8, {{{0}, 1}});
  const int slot = cache.take(0, 5);
  cache.forget(slot);
  EXPECT_EQ(cache.find(0, 5), ExpertCache::kNoSlot);
  EXPECT_EQ(cache.take(0, 5), ExpertCache::kNoSlot);  // still pinned
  cache.unpin(slot);
  EXPECT_EQ(cache.take(0, 5), slot);
}

TEST(Cache, ClassesKeepToTheirSlots) {
  ExpertCache cache(3, 4, {{{0, 2}, 2}, {{1}, 1}});
  EXPECT_EQ(cache.n_slots(), 3);
  EXPECT_LT(cache.take(0, 0), 2);
  EXPECT_EQ(cache.take(1, 0), 2);
  EXPECT_LT(cache.take(2, 0), 2);
  EXPECT_EQ(cache.take(1, 1), ExpertCache::kNoSlot);
  cache.unpin(0);
  EXPECT_EQ(cache.take(1, 1), ExpertCache::kNoSlot);
}

TEST(Cache, TheLastSlotGoesOutOfUseAndWhatItHoldsMovesToTheFront) {
  constexpr int kNoSlot = ExpertCache::kNoSlot;
  ExpertCache cache(2, 4, {{{0}, 4}, {{1}, 3}});
  pass(cache, 0, ids({0, 1}));
  auto retired = cache.retire(0);
  ASSERT_TRUE(retired.has_value());
  EXPECT_EQ(std::pair(retired->slot, retired->moved_to), std::pair(3, kNoSlot)) << "it was empty";
  pass(cache, 0, ids({2}));
  for (int i = 0; i < 9; ++i) pass(cache, 0, ids({1, 2}));
  const int slot_of_0 = cache.find(0, 0);
  retired = cache.retire(0);
  ASSERT_TRUE(retired.has_value());
  EXPECT_EQ(std::pair(retired->slot, retired->moved_to), std::pair(2, slot_of_0));
  EXPECT_EQ(cache.find(0, 0), kNoSlot) << "used once";
  EXPECT_EQ(cache.find(0, 2), slot_of_0);
  EXPECT_EQ(cache.held(slot_of_0).expert, 2);
  EXPECT_EQ(cache.n_in_use(0), 2);
  EXPECT_EQ(pass(cache, 0, ids({1, 2})), 2);

  cache.pin(1);
  EXPECT_FALSE(cache.retire(0).has_value());
  cache.unpin(1);
  cache.restore(0);
  EXPECT_EQ(cache.take(0, 3), 2) << "in use again, and empty";
  cache.unpin(2);
  EXPECT_EQ(pass(cache, 0, ids({1, 2, 3})), 3);
  EXPECT_EQ(cache.n_in_use(1), 3);
  retired = cache.retire(1);
  ASSERT_TRUE(retired.has_value());
  EXPECT_EQ(retired->slot, 6);
}

TEST(Cache, TheExpertInTheLastSlotLeavesWhereItIsNeededLast) {
  ExpertCache cache(1, 4, {{{0}, 3}});
  pass(cache, 0, ids({0, 1, 2}));
  for (int i = 0; i < 9; ++i) pass(cache, 0, ids({0, 1}));
  const auto retired = cache.retire(0);
  ASSERT_TRUE(retired.has_value());
  EXPECT_EQ(std::pair(retired->slot, retired->moved_to), std::pair(2, ExpertCache::kNoSlot));
  EXPECT_EQ(cache.find(0, 2), ExpertCache::kNoSlot);
  EXPECT_EQ(pass(cache, 0, ids({0, 1})), 2);
}

TEST(Cache, AnExpertUsedOftenOutlivesThoseUsedOnce) {
  ExpertCache cache(1, 100, {{{0}, 4}});
  for (int i = 0; i < 10; ++i) pass(cache, 0, ids({7}));
  for (int i = 10; i < 16; ++i) pass(cache, 0, ids({i}));
  EXPECT_NE(cache.find(0, 7), ExpertCache::kNoSlot);
}

TEST(Cache, ALoopLargerThanTheCacheStillHits) {
  // LRU would hit nothing here.
  ExpertCache cache(8, 16, {{{0, 1, 2, 3, 4, 5, 6, 7}, 12}});
  int hits = 0;
  for (int token = 0; token < 20; ++token) {
    for (int layer = 0; layer < 8; ++layer) hits += pass(cache, layer, ids({1, 2}));
  }
  EXPECT_GT(hits, 20 * 16 / 2);
}

// The same policy, written down plainly: forecasts of all, and a look at every one for each victim.
class PlainPolicy {
 public:
  PlainPolicy(int n_layers, int n_experts) : n_layers_(n_layers), n_experts_(n_experts) {
    experts_.resize(static_cast<size_t>(n_layers * n_experts));
  }
  struct Expert {
    double fast = 0, slow = 0, forecast = 0;
    bool candidate = false;
  };
  Expert& at(int layer, int expert) { return experts_[static_cast<size_t>(layer * n_experts_ + expert)]; }
  void use(int layer, const std::vector<int32_t>& picks) {
    ++time_;
    for (int e = 0; e < n_experts_; ++e) {
      const double used = std::count(picks.begin(), picks.end(), e) > 0 ? 1 : 0;
      Expert& x = at(layer, e);
      x.fast += 0.65 * (used - x.fast);
      x.slow += 0.03 * (used - x.slow);
      x.forecast = time_ + n_layers_ / (0.35 * x.fast + 0.65 * x.slow + 1e-4);
    }
  }
  double latest_forecast() {
    double latest = -1;
    for (const Expert& x : experts_) latest = x.candidate ? std::max(latest, x.forecast) : latest;
    return latest;
  }

 private:
  int n_layers_, n_experts_;
  double time_ = 0;
  std::vector<Expert> experts_;
};

// Fewer experts than are looked at side by side, and a number that is no multiple of them.
class EvictionOf : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Experts, EvictionOf, testing::Values(12, 75));

TEST_P(EvictionOf, ChoosesWhatThePlainPolicyChooses) {
  constexpr int kLayers = 5;
  const int n_experts = GetParam();
  Eviction eviction(kLayers, n_experts);
  PlainPolicy plain(kLayers, n_experts);
  std::mt19937 random(3);
  const auto n = static_cast<unsigned>(n_experts);
  const std::vector<int> layers = {0, 1, 2, 3, 4};
  EXPECT_FALSE(eviction.victim(layers).has_value());
  for (int step = 0; step < 5000; ++step) {
    const int layer = step % kLayers;
    std::vector<int32_t> picks;
    for (int i = 0; i < 3; ++i) picks.push_back(static_cast<int32_t>(random() % n * (random() % n) / n));
    std::sort(picks.begin(), picks.end());
    picks.erase(std::unique(picks.begin(), picks.end()), picks.end());
    eviction.use(layer, Picks(picks));
    plain.use(layer, picks);
    for (int change = 0; change < 4; ++change) {
      const int l = static_cast<int>(random() % kLayers), e = static_cast<int>(random() % n);
      const bool on = random() % 2 == 0;
      eviction.set_candidate(l, e, on);
      plain.at(l, e).candidate = on;
    }
    const auto victim = eviction.victim(layers);
    const double latest = plain.latest_forecast();
    ASSERT_EQ(victim.has_value(), latest >= 0);
    if (!victim) continue;
    ASSERT_TRUE(plain.at(victim->layer, victim->expert).candidate);
    ASSERT_NEAR(plain.at(victim->layer, victim->expert).forecast, latest, 1e-4 * latest);
  }
}

TEST_P(EvictionOf, TakesTheFirstAmongEquals) {
  const int n_experts = GetParam();
  Eviction eviction(2, n_experts);
  const std::vector<int> layers = {0, 1};
  for (const int layer : layers) eviction.use(layer, Picks(ids({})));
  for (int e = n_experts - 1; e >= 0; --e) {
    for (const int layer : layers) eviction.set_candidate(layer, e, true);
  }
  for (const int layer : {1, 0}) {  // layer 0 was passed before
    for (int e = 0; e < n_experts; ++e) {
      const auto victim = eviction.victim(layers);
      ASSERT_TRUE(victim);
      EXPECT_EQ(victim->layer, layer);
      EXPECT_EQ(victim->expert, e);
      eviction.set_candidate(victim->layer, victim->expert, false);
    }
  }
}

TEST(Eviction, TheWavesOfAChunkAreOnePass) {
  // Two waves with other experts between them must not age the first wave's.
  Eviction waves(2, 8), once(2, 8);
  const std::vector<int> layers = {0, 1};
  for (int token = 0; token < 5; ++token) {
    waves.use(0, Picks(ids({0, 1})));
    waves.use(0, Picks(ids({2, 3})));
    waves.use(1, Picks(ids({4})));
    once.use(0, Picks(ids({0, 1, 2, 3})));
    once.use(1, Picks(ids({4})));
  }
  for (int e = 0; e < 8; ++e) {
    for (int layer = 0; layer < 2; ++layer) {
      waves.set_candidate(layer, e, true);
      once.set_candidate(layer, e, true);
    }
  }
  for (int i = 0; i < 16; ++i) {
    const auto a = waves.victim(layers), b = once.victim(layers);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(a->layer, b->layer);
    EXPECT_EQ(a->expert, b->expert);
    waves.set_candidate(a->layer, a->expert, false);
    once.set_candidate(a->layer, a->expert, false);
  }
}

}  // namespace
}  // namespace flashmoe
