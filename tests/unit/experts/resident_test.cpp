#include "experts/resident.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "flashmoe/error.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

using test::all_arrive;
using test::FakeExperts;
using test::FakeReadQueue;
using test::kAlways;
using test::kLayouts;
using test::Layout;
using test::make_fake_experts;

std::unique_ptr<ExpertSource> make(const FakeExperts& experts, bool direct, Budget& budget,
                                   const std::function<void(uint64_t)>& on_bytes = {}) {
  budget.allot(Allotted::expert_cache, resident_bytes(experts.table));
  return make_resident_experts(experts.table, experts.files, std::make_unique<FakeReadQueue>(experts.disk, 3), direct,
                               budget, on_bytes);
}

TEST(Resident, HoldsEveryExpertOfEveryLayout) {
  for (const Layout layout : kLayouts) {
    for (const bool direct : {false, true}) {
      const FakeExperts experts = make_fake_experts(layout, 3, 8, 2, true);
      Budget budget;
      const auto source = make(experts, direct, budget);
      EXPECT_EQ(budget.used(Allotted::expert_cache), resident_bytes(experts.table));
      for (int layer = 0; layer < 3; ++layer) {
        const std::vector<int32_t> picks = {0, 1, 2, 3, 4, 5, 6, 7};
        Lease lease = source->acquire(layer, picks);
        EXPECT_TRUE(all_arrive(experts, layer, picks, lease));
      }
      EXPECT_EQ(source->cache_stats().hits, 24u);
      EXPECT_EQ(source->cache_stats().misses, 0u);
    }
  }
}

TEST(Resident, TakesLittleMoreThanTheExpertsThemselves) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 3, 64, 2);
  EXPECT_LE(resident_bytes(experts.table), experts.table.bytes() + 3 * 3 * 2 * 4096);
}

TEST(Resident, TellsHowFarItIs) {
  const FakeExperts experts = make_fake_experts(Layout::scattered, 3, 8, 2);
  Budget budget;
  uint64_t last = 0;
  const auto source = make(experts, true, budget, [&](uint64_t bytes) {
    EXPECT_GE(bytes, last);
    last = bytes;
  });
  EXPECT_EQ(last, source->io_stats().bytes_read);
  EXPECT_GE(last, experts.table.bytes());
}

TEST(Resident, SeveralLeasesLiveTogether) {
  const FakeExperts experts = make_fake_experts(Layout::gate_up, 2, 8, 2);
  Budget budget;
  const auto source = make(experts, false, budget);
  const std::vector<int32_t> a = {1, 5}, b = {5, 7, 0};
  Lease first = source->acquire(0, a);
  Lease second = source->acquire(1, b);
  EXPECT_TRUE(all_arrive(experts, 1, b, second));
  EXPECT_TRUE(all_arrive(experts, 0, a, first));
}

TEST(Resident, ABlockThatRecoversIsNoTrouble) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  experts.disk->fail_at(1, experts.table.at(1, 3).up.parts[0].offset, EIO, 2);
  Budget budget;
  const auto source = make(experts, false, budget);
  const std::vector<int32_t> picks = {3};
  Lease lease = source->acquire(1, picks);
  EXPECT_TRUE(all_arrive(experts, 1, picks, lease));
}

TEST(Resident, AFailingDiskIsNamed) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 2, 8, 2);
  experts.disk->fail_at(1, experts.table.at(1, 0).up.parts[0].offset, EIO, kAlways);
  Budget budget;
  try {
    const auto source = make(experts, false, budget);
    FAIL() << "loaded from a broken disk";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::io);
    EXPECT_NE(std::string(error.what()).find("fake/model-1"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("layer 1"), std::string::npos) << error.what();
  }
  EXPECT_EQ(budget.used(Allotted::expert_cache), 0u);
}

}  // namespace
}  // namespace flashmoe
