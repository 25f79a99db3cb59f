#include "memory/budget.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

namespace flashmoe {
namespace {

TEST(Budget, ClaimsUpToTheAllotmentAndNoFurther) {
  Budget budget;
  EXPECT_FALSE(budget.claim(Allotted::trunk, 1));
  budget.allot(Allotted::trunk, 100);
  budget.allot(Allotted::workspace, 7);
  EXPECT_EQ(budget.allotted(Allotted::trunk), 100u);
  EXPECT_EQ(budget.allotted(Allotted::workspace), 7u);
  EXPECT_TRUE(budget.claim(Allotted::trunk, 60));
  EXPECT_FALSE(budget.claim(Allotted::trunk, 41));
  EXPECT_EQ(budget.used(Allotted::trunk), 60u);
  EXPECT_TRUE(budget.claim(Allotted::trunk, 40));
  EXPECT_FALSE(budget.claim(Allotted::trunk, ~uint64_t{0}));  // no overflow
  budget.release(Allotted::trunk, 100);
  EXPECT_EQ(budget.used(Allotted::trunk), 0u);
  EXPECT_EQ(budget.used(Allotted::workspace), 0u);
}

TEST(Budget, AnAllotmentCutBelowItsUseGivesNothing) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 10);
  ASSERT_TRUE(budget.claim(Allotted::kv_cache, 10));
  budget.allot(Allotted::kv_cache, 5);
  EXPECT_FALSE(budget.claim(Allotted::kv_cache, 1));
}

TEST(Budget, ThreadsNeverTakeMoreThanThereIs) {
  Budget budget;
  budget.allot(Allotted::trunk, 1000);
  std::vector<int> taken(4);
  std::vector<std::thread> threads;
  for (int& count : taken) {
    threads.emplace_back([&] {
      while (budget.claim(Allotted::trunk, 3)) ++count;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken[0] + taken[1] + taken[2] + taken[3], 333);
  EXPECT_EQ(budget.used(Allotted::trunk), 999u);
}

TEST(Budget, WhatLendersHaveNotClaimedIsTheExpertCaches) {
  Budget budget;
  budget.allot(Allotted::expert_cache, 100);
  budget.allot(Allotted::kv_cache, 30);
  budget.allot(Allotted::sessions, 20);
  budget.allot(Allotted::trunk, 50);
  budget.lend(40);
  EXPECT_EQ(budget.expert_cache_most(), 140u);
  EXPECT_EQ(budget.expert_cache_limit(), 140u);
  EXPECT_FALSE(budget.claim(Allotted::expert_cache, 141));
  ASSERT_TRUE(budget.claim(Allotted::kv_cache, 5));
  EXPECT_EQ(budget.expert_cache_limit(), 135u);
  EXPECT_FALSE(budget.claim(Allotted::expert_cache, 136));
  ASSERT_TRUE(budget.claim(Allotted::expert_cache, 135));
  ASSERT_TRUE(budget.claim(Allotted::trunk, 50)) << "the trunk lends nothing";

  int n_asked = 0;
  budget.set_give_back([&] {
    ++n_asked;
    budget.release(Allotted::expert_cache, budget.used(Allotted::expert_cache) - budget.expert_cache_limit());
  });
  ASSERT_TRUE(budget.claim(Allotted::sessions, 20));
  EXPECT_EQ(n_asked, 1);
  EXPECT_EQ(budget.used(Allotted::expert_cache), 115u);
  ASSERT_TRUE(budget.claim(Allotted::kv_cache, 25));
  EXPECT_EQ(budget.used(Allotted::expert_cache), 100u) << "its own it keeps";
  EXPECT_FALSE(budget.claim(Allotted::kv_cache, 1));
  EXPECT_EQ(n_asked, 2);
  budget.release(Allotted::kv_cache, 30);
  EXPECT_EQ(budget.expert_cache_limit(), 120u);
  EXPECT_EQ(budget.expert_cache_most(), 140u);
}

TEST(Budget, AClaimThatFailsToGetBackWhatIsLentTakesNothing) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 10);
  budget.lend(10);
  ASSERT_TRUE(budget.claim(Allotted::expert_cache, 10));
  budget.set_give_back([] { throw std::runtime_error("the drive stands still"); });
  EXPECT_THROW((void)budget.claim(Allotted::kv_cache, 1), std::runtime_error);
  EXPECT_EQ(budget.used(Allotted::kv_cache), 0u);
  EXPECT_EQ(budget.expert_cache_limit(), 10u);
}

TEST(BudgetDeathTest, WhatIsLentAndNotGivenBackIsABug) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 10);
  budget.lend(10);
  ASSERT_TRUE(budget.claim(Allotted::expert_cache, 10));
  budget.set_give_back([] {});
  EXPECT_DEATH((void)budget.claim(Allotted::kv_cache, 1), "CHECK");
}

}  // namespace
}  // namespace flashmoe
