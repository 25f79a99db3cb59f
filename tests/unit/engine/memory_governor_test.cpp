#include "engine/memory_governor.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace flashmoe {
namespace {

constexpr MemoryGovernor::Sizes kSizes = {.full_bytes = 8 * kGiB, .floor_bytes = kGiB, .low_bytes = 128 * kMiB};
constexpr MemoryPressure kCalm = {.headroom_bytes = 2 * kGiB, .major_faults = 100};

class MemoryGovernorTest : public testing::Test {
 protected:
  MemoryGovernorTest() { decide(kCalm); }
  uint64_t decide(const MemoryPressure& now) { return governor_.decide(now, seconds_ += 1); }
  uint64_t calm_for(int seconds) {
    for (int i = 0; i < seconds; ++i) decide(kCalm);
    return governor_.cache_bytes();
  }

  MemoryGovernor governor_{kSizes};
  double seconds_ = 1000;
};

TEST_F(MemoryGovernorTest, CalmLeavesThePlanAlone) { EXPECT_EQ(calm_for(100), kSizes.full_bytes); }

TEST_F(MemoryGovernorTest, EachSignOfPressureShrinksTheCache) {
  MemoryPressure tight = kCalm, faults = kCalm, stalled = kCalm, swapped = kCalm;
  tight.headroom_bytes = 100 * kMiB;
  faults.major_faults += 21;
  stalled.stalled_percent = 11;
  stalled.headroom_bytes = kSizes.low_bytes * 7;
  swapped.swapped_bytes = 4096;
  for (const MemoryPressure& pressure : {tight, faults, stalled, swapped}) {
    MemoryGovernor governor(kSizes);
    MemoryPressure before = kCalm;
    before.headroom_bytes = pressure.headroom_bytes;
    EXPECT_EQ(governor.decide(before, 1), kSizes.full_bytes);
    EXPECT_EQ(governor.decide(pressure, 2), kSizes.full_bytes - kSizes.full_bytes / 16);
  }
}

// The first touch of a cache takes pages from the page cache, which counts as waiting for memory.
TEST_F(MemoryGovernorTest, StallsWithAmpleHeadroomAreNoPressure) {
  MemoryPressure filling = kCalm;
  filling.stalled_percent = 50;
  EXPECT_EQ(decide(filling), kSizes.full_bytes);
}

TEST_F(MemoryGovernorTest, AMissingGigabyteIsGivenBackAtOnce) {
  MemoryGovernor governor({.full_bytes = 8 * kGiB, .floor_bytes = kGiB, .low_bytes = kGiB});
  governor.decide({.headroom_bytes = 0}, 1);
  EXPECT_EQ(governor.decide({.headroom_bytes = 0}, 2), 6 * kGiB);
}

// 300 MiB are left, and 800 went since the last look: at the next one it would be too late.
TEST_F(MemoryGovernorTest, MemoryThatOthersTakeFastIsMadeRoomForBefore) {
  MemoryPressure first = kCalm, second = kCalm;
  first.headroom_bytes = 1100 * kMiB;
  second.headroom_bytes = 300 * kMiB;
  EXPECT_EQ(decide(first), kSizes.full_bytes);  // 948 went: there is as much and what is to be kept
  EXPECT_EQ(decide(second), kSizes.full_bytes - (800 - 300 + 2 * 128) * kMiB);
}

TEST_F(MemoryGovernorTest, WhatThisProcessTakesItselfIsItsPlan) {
  MemoryPressure filling = kCalm;
  for (int i = 0; i < 3; ++i) {
    filling.headroom_bytes -= 600 * kMiB;  // down to 248 MiB
    filling.own_bytes += 600 * kMiB;
    EXPECT_EQ(decide(filling), kSizes.full_bytes);
  }
}

TEST_F(MemoryGovernorTest, HeadroomThatIsNotToldIsEnough) {
  MemoryPressure untold = kCalm;
  untold.headroom_bytes = MemoryPressure{}.headroom_bytes;
  EXPECT_EQ(decide(untold), kSizes.full_bytes);
  EXPECT_EQ(decide(kCalm), kSizes.full_bytes);
}

TEST_F(MemoryGovernorTest, NeverBelowTheFloor) {
  MemoryPressure tight = kCalm;
  tight.headroom_bytes = 0;
  for (int i = 0; i < 200; ++i) decide(tight);
  EXPECT_EQ(governor_.cache_bytes(), kSizes.floor_bytes);
}

TEST_F(MemoryGovernorTest, OldFaultsAndOldSwapAreNoPressure) {
  MemoryPressure past = kCalm;
  past.major_faults = 1'000'000;
  past.swapped_bytes = kGiB;
  MemoryGovernor governor(kSizes);
  for (int i = 1; i < 20; ++i) EXPECT_EQ(governor.decide(past, i), kSizes.full_bytes);
}

TEST_F(MemoryGovernorTest, GrowsBackStepByStepAfterACalmTime) {
  MemoryPressure tight = kCalm;
  tight.headroom_bytes = 100 * kMiB;
  const uint64_t shrunk = decide(tight);
  EXPECT_EQ(calm_for(9), shrunk);
  EXPECT_EQ(calm_for(1), shrunk + kSizes.full_bytes / 32);
  EXPECT_EQ(calm_for(200), kSizes.full_bytes);
}

TEST_F(MemoryGovernorTest, GrowsNotIntoWhatItMustKeepFree) {
  MemoryPressure tight = kCalm, narrow = kCalm;
  tight.headroom_bytes = 100 * kMiB;
  narrow.headroom_bytes = 3 * kSizes.low_bytes;
  const uint64_t shrunk = decide(tight);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(decide(narrow), shrunk);
}

TEST_F(MemoryGovernorTest, GrowingThatWentWrongIsTriedLaterEachTime) {
  MemoryPressure tight = kCalm;
  tight.headroom_bytes = 100 * kMiB;
  decide(tight);
  calm_for(10);  // grows
  const uint64_t shrunk = decide(tight);
  EXPECT_EQ(calm_for(19), shrunk);
  EXPECT_GT(calm_for(1), shrunk);
}

TEST_F(MemoryGovernorTest, CallsInARowAreOne) {
  MemoryPressure tight = kCalm;
  tight.headroom_bytes = 0;
  const uint64_t shrunk = decide(tight);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(governor_.decide(tight, seconds_ + 0.1), shrunk);
}

}  // namespace
}  // namespace flashmoe
