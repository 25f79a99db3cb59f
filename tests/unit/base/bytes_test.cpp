#include "base/bytes.h"

#include <gtest/gtest.h>

#include <limits>

namespace flashmoe {
namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

TEST(Bytes, RoundsToMultiples) {
  EXPECT_EQ(round_down(0, 4096), 0u);
  EXPECT_EQ(round_down(4095, 4096), 0u);
  EXPECT_EQ(round_down(8191, 4096), 4096u);
  EXPECT_EQ(round_up(0, 4096), 0u);
  EXPECT_EQ(round_up(1, 4096), 4096u);
  EXPECT_EQ(round_up(4096, 4096), 4096u);
  EXPECT_EQ(round_up(7, 3), 9u);
}

TEST(Bytes, ChecksProductsAndSums) {
  EXPECT_EQ(checked_mul(3, 5), 15u);
  EXPECT_EQ(checked_mul(0, kMost), 0u);
  EXPECT_EQ(checked_mul(1, kMost), kMost);
  EXPECT_EQ(checked_mul(2, kMost), std::nullopt);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_add(kMost, 0), kMost);
  EXPECT_EQ(checked_add(kMost, 1), std::nullopt);
}

}  // namespace
}  // namespace flashmoe
