#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

ModelConfig two_layers() {
  ModelConfig c;
  c.n_layers = 2;
  c.layer_is_attention = {true, true};
  c.attention = {4, 2, 64, 16, 1e6};
  return c;
}

TEST(KvCacheTest, GrowsOnDemandWithinItsAllotment) {
  const ModelConfig config = two_layers();
  Budget budget;
  budget.allot(Allotted::kv_cache, KvCache::bytes(config, KvFormat::f16, 10000));
  KvCache kv(config, KvFormat::f16, 100000, budget);
  EXPECT_EQ(budget.used(Allotted::kv_cache), 0U);
  kv.reserve_positions(1);
  const uint64_t one = budget.used(Allotted::kv_cache);
  EXPECT_GT(one, 0U);
  EXPECT_LE(one, KvCache::bytes(config, KvFormat::f16, 1));
  std::byte* keys = kv.keys(0);
  keys[0] = std::byte{42};
  kv.reserve_positions(10000);
  EXPECT_EQ(kv.keys(0), keys) << "growing must not move what is there";
  EXPECT_EQ(keys[0], std::byte{42});
  EXPECT_GT(budget.used(Allotted::kv_cache), one);
  EXPECT_LE(budget.used(Allotted::kv_cache), KvCache::bytes(config, KvFormat::f16, 10000));
}

TEST(KvCacheTest, SaysSoWhenTheAllotmentIsUsedUp) {
  const ModelConfig config = two_layers();
  Budget budget;
  budget.allot(Allotted::kv_cache, KvCache::bytes(config, KvFormat::f32, 10));
  KvCache kv(config, KvFormat::f32, 1 << 20, budget);
  kv.reserve_positions(10);
  try {
    kv.reserve_positions(1 << 19);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::memory_floor);
  }
}

TEST(KvCacheTest, ReleasesWhatItTook) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 1ULL << 30);
  {
    KvCache kv(two_layers(), KvFormat::f16, 4096, budget);
    kv.reserve_positions(4096);
  }
  EXPECT_EQ(budget.used(Allotted::kv_cache), 0U);
}

}  // namespace
}  // namespace flashmoe
