#include "engine/roof_looks.h"

#include <gtest/gtest.h>

#include <vector>

namespace flashmoe {
namespace {

TEST(RoofLooks, AreMeansOfBeforeAndAfter) {
  const std::vector<Roofs> seen = {{30, 1.0, 0.8, "first"}, {0, 2.0, 0, "second"}, {50, 1.5, 0, "third"}};
  size_t n = 0;
  RoofLooks looks([&] { return seen.at(n++); });
  EXPECT_EQ(n, 1u);
  const Roofs first = looks.around();
  EXPECT_EQ(n, 2u);
  EXPECT_DOUBLE_EQ(first.ram_gb_per_s, 30);  // not measured: as before
  EXPECT_DOUBLE_EQ(first.disk_gb_per_s, 1.5);
  EXPECT_EQ(first.io_mode, "second");
  const Roofs second = looks.around();
  EXPECT_DOUBLE_EQ(second.ram_gb_per_s, 40);
  EXPECT_DOUBLE_EQ(second.disk_gb_per_s, 1.75);
  EXPECT_DOUBLE_EQ(second.int8_tops, 0.8);
}

TEST(RoofLooks, WhatWasSeenDuringAMeasurementCountsForRam) {
  const Roofs around = {30, 1.0, 0.8, "io"};
  const Roofs seen = with_ram_of({50, 9, 9, ""}, around);
  EXPECT_EQ(seen.ram_gb_per_s, 50);
  EXPECT_EQ(seen.disk_gb_per_s, 1);
  EXPECT_EQ(seen.int8_tops, 0.8);
  EXPECT_EQ(seen.io_mode, "io");
  EXPECT_EQ(with_ram_of({}, around).ram_gb_per_s, 30);
}

TEST(RoofMean, IsOverTimeNotOverLooks) {
  RoofMean mean;
  EXPECT_EQ(mean.mean(), 0);
  mean.add(1, 30);  // the first: against this look alone
  EXPECT_DOUBLE_EQ(mean.mean(), 30);
  mean.add(3, 60);  // 3 s at 45
  EXPECT_DOUBLE_EQ(mean.mean(), (30 + 3 * 45) / 4.0);
  mean.add(5, 0);  // saw nothing
  EXPECT_DOUBLE_EQ(mean.mean(), (30 + 3 * 45) / 4.0);
  mean.add(4, 60);
  EXPECT_DOUBLE_EQ(mean.mean(), (30 + 3 * 45 + 4 * 60) / 8.0);
}

TEST(RoofLooks, TheMedianOfEach) {
  const std::vector<Roofs> all = {{30, 3, 1, ""}, {10, 2, 2, ""}, {20, 1, 9, "last"}};
  const Roofs median = median_of(all);
  EXPECT_DOUBLE_EQ(median.ram_gb_per_s, 20);
  EXPECT_DOUBLE_EQ(median.disk_gb_per_s, 2);
  EXPECT_DOUBLE_EQ(median.int8_tops, 2);
  EXPECT_EQ(median.io_mode, "last");
}

}  // namespace
}  // namespace flashmoe
