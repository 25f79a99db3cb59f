#include <gtest/gtest.h>

#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

// Every product is 3 * -2: a sum that is short was not computed.
TEST(Int8Peak, ComputesWhatItCounts) {
  for (const KernelTable* table : available_tables()) {
    int32_t sum = 0;
    const int64_t one = table->int8_peak(1, &sum);
    EXPECT_GT(one, 0) << table->name;
    for (const int64_t n_rounds : {1, 7, 1000}) {
      const int64_t n = table->int8_peak(n_rounds, &sum);
      EXPECT_EQ(n, n_rounds * one) << table->name;
      EXPECT_EQ(sum, -6 * n) << table->name;
    }
  }
}

}  // namespace
}  // namespace flashmoe
