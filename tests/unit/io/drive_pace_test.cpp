#include "io/drive_pace.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

constexpr uint64_t kMs = 1'000'000;

// Reads of 64 KiB, one after the other, each waited for.
class DrivePaceTest : public testing::Test {
 protected:
  // Whether it was late behind one of n reads.
  bool read(int n, uint64_t took_ns) {
    for (int i = 0; i < n && !pace_.is_late(); ++i) {
      pace_.begin(now_);
      now_ += took_ns;
      pace_.wait(took_ns);
      pace_.arrive(kBytes, now_);
    }
    return pace_.is_late();
  }

  static constexpr uint64_t kBytes = 65536;
  DrivePace pace_{1.0};
  uint64_t now_ = 1000 * kMs;
};

TEST_F(DrivePaceTest, TheRateFollowsWhatArrives) {
  EXPECT_FALSE(read(10'000, 32'768));
  EXPECT_NEAR(pace_.gb_per_s(), 2.0, 0.01);
  EXPECT_FALSE(read(10'000, 131'072));
  EXPECT_NEAR(pace_.gb_per_s(), 0.5, 0.01);
}

TEST_F(DrivePaceTest, ASlowReadIsEnoughWhereItIsVerySlow) {
  EXPECT_FALSE(read(100, 65'536));
  EXPECT_FALSE(read(1, 30 * kMs)) << "a hiccup";
  pace_ = DrivePace(1.0);
  EXPECT_TRUE(read(1, 100 * kMs));
  pace_ = DrivePace(1.0);
  EXPECT_TRUE(read(3, 20 * kMs));
}

TEST_F(DrivePaceTest, AWaitThatHasNoEndCountsBeforeTheReadIsDone) {
  pace_.begin(now_);
  for (int i = 0; i < 40; ++i) pace_.wait(kMs);
  EXPECT_FALSE(pace_.is_late());
  for (int i = 0; i < 20; ++i) pace_.wait(kMs);
  EXPECT_TRUE(pace_.is_late());
}

TEST_F(DrivePaceTest, TimeThatNobodyWaitedIsNoFault) {
  pace_.begin(now_);
  pace_.arrive(kBytes, now_ + 10'000 * kMs);
  EXPECT_FALSE(pace_.is_late());
}

TEST_F(DrivePaceTest, ADriveThatWasAlwaysSlowIsNotLate) {
  pace_ = DrivePace(0.1);
  EXPECT_FALSE(read(10'000, 655'360));
}

TEST_F(DrivePaceTest, WhatIsForgivenIsForgotten) {
  EXPECT_TRUE(read(1, 100 * kMs));
  pace_.forgive();
  EXPECT_FALSE(read(1, 40 * kMs));
  EXPECT_EQ(pace_.gb_per_s(), 1.0);
}

TEST_F(DrivePaceTest, ItRestsUntilAProbeComesSoon) {
  pace_.rest(now_);
  EXPECT_TRUE(pace_.rests());
  EXPECT_FALSE(pace_.wants_probe(now_ + 100 * kMs));
  now_ += 200 * kMs;
  EXPECT_TRUE(pace_.wants_probe(now_));
  pace_.probed(kBytes, now_, now_ + 20 * kMs, 0.25);
  EXPECT_TRUE(pace_.rests());
  EXPECT_FALSE(pace_.wants_probe(now_ + 300 * kMs)) << "the pauses grow";
  EXPECT_TRUE(pace_.wants_probe(now_ + 420 * kMs));
  pace_.probed(kBytes, now_, now_ + 1 * kMs, 0.25);
  EXPECT_FALSE(pace_.rests());
  EXPECT_EQ(pace_.gb_per_s(), 0.25) << "enough to be asked again";
}

TEST_F(DrivePaceTest, OneThatIsLateAgainAndAgainIsAskedEverMoreRarely) {
  uint64_t pause = 0;
  for (int i = 0; i < 12; ++i) {
    pace_.rest(now_);
    uint64_t next = now_;
    while (!pace_.wants_probe(next)) next += kMs;
    EXPECT_GE(next - now_, pause);
    pause = next - now_;
    now_ = next;
    pace_.probed(kBytes, now_, now_ + kMs, 1.0);
    ASSERT_FALSE(pace_.rests());
  }
  EXPECT_EQ(pause, 60'000 * kMs);
  EXPECT_FALSE(read(1000, 65'536)) << "sound for a while";
  pace_.rest(now_);
  EXPECT_TRUE(pace_.wants_probe(now_ + 200 * kMs));
}

}  // namespace
}  // namespace flashmoe
