#include "pace.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

using Unit = Progress::Unit;

Progress packing(double seconds, double done) {
  return {"packing", Unit::bytes, static_cast<uint64_t>(done), 100'000, seconds};
}

TEST(Pace, IsThatOfTheStartAtFirst) {
  Pace pace;
  EXPECT_EQ(pace.of(packing(0, 0)), 0);
  EXPECT_NEAR(pace.of(packing(0.5, 400)), 800, 1);
  EXPECT_NEAR(pace.of(packing(2, 1600)), 800, 1);
}

TEST(Pace, IsNotKnownInTheFirstMoment) {
  Pace pace;
  EXPECT_EQ(pace.of({"decoding", Unit::tokens, 1, 200, 13e-6}), 0);
  EXPECT_EQ(pace.of({"decoding", Unit::tokens, 2, 200, 0.1}), 0);
  EXPECT_NEAR(pace.of({"decoding", Unit::tokens, 10, 200, 1}), 10, 0.1);
}

TEST(Pace, ForgetsWhatWasCheapWithinSixSeconds) {
  Pace pace;
  double at = 0;
  for (double s = 0; s <= 2; s += 0.1) pace.of(packing(s, at = 8000 * s));
  for (double s = 2.1; s <= 8; s += 0.1) {
    at += 10;
    const double rate = pace.of(packing(s, at));
    if (s > 6.3) {
      EXPECT_NEAR(rate, 100, 5) << s;
    }
  }
}

TEST(Pace, OfRareStepsIsThatOfTheLast) {
  Pace pace;
  pace.of(packing(0, 0));
  pace.of(packing(20, 2000));
  EXPECT_NEAR(pace.of(packing(60, 4000)), 50, 1);
}

TEST(Pace, BeginsAnewWithSomethingElse) {
  Pace pace;
  for (const double s : {0., 5., 10.}) pace.of(packing(s, 1000 * s));
  EXPECT_NEAR(pace.of({"verifying", Unit::bytes, 50, 100, 1}), 50, 1);
  EXPECT_NEAR(pace.of({"verifying", Unit::bytes, 10, 100, 0.5}), 20, 1);
}

}  // namespace
}  // namespace flashmoe
