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
