#include "experts/guess_record.h"

#include <gtest/gtest.h>

#include <array>

namespace flashmoe {
namespace {

constexpr int kEnough = static_cast<int>(GuessRecord::kLeastTrials);

// Rank 0 is always right, rank 1 three times of four, rank 2 once in two.
void run(GuessRecord& record, int n) {
  constexpr std::array<int32_t, 3> kGuesses = {10, 11, 12};
  for (int i = 0; i < n; ++i) {
    record.note(5, kGuesses, 1);
    const std::array<int32_t, 3> picks = {10, i % 4 == 0 ? 90 : 11, i % 2 == 0 ? 91 : 12};
    record.settle(5, picks);
  }
}

TEST(GuessRecord, EveryRankIsWorthItUntilItIsKnown) {
  GuessRecord record(3);
  run(record, kEnough - 1);
  for (size_t rank = 0; rank < 3; ++rank) EXPECT_TRUE(record.worth_reading(rank)) << rank;
}

TEST(GuessRecord, ARankThatIsSeldomRightIsNotRead) {
  GuessRecord record(3);
  run(record, kEnough);
  EXPECT_TRUE(record.worth_reading(0));
  EXPECT_TRUE(record.worth_reading(1));
  EXPECT_FALSE(record.worth_reading(2));
}

TEST(GuessRecord, ARankIsThatOfAllRows) {
  GuessRecord record(2);
  const std::array<int32_t, 4> guesses = {1, 2, 3, 4};  // of two rows
  const std::array<int32_t, 2> picks = {1, 2};
  for (int i = 0; i < kEnough; ++i) {
    record.note(5, guesses, 2);
    record.settle(5, picks);
  }
  EXPECT_TRUE(record.worth_reading(0));
  EXPECT_FALSE(record.worth_reading(1));
}

TEST(GuessRecord, AnotherLayersPicksSettleNothing) {
  GuessRecord record(1);
  const std::array<int32_t, 1> guess = {3}, other = {4};
  for (int i = 0; i < kEnough; ++i) {
    record.note(1, guess, 1);
    record.settle(2, other);
  }
  EXPECT_TRUE(record.worth_reading(0));
}

TEST(GuessRecord, OldFailuresAreForgotten) {
  GuessRecord record(1);
  const std::array<int32_t, 1> guess = {3}, other = {4};
  const auto turns = [&](int n, const std::array<int32_t, 1>& picked) {
    for (int i = 0; i < n; ++i) {
      record.note(1, guess, 1);
      record.settle(1, picked);
    }
  };
  turns(3 * static_cast<int>(GuessRecord::kMemoryTrials), other);
  EXPECT_FALSE(record.worth_reading(0));
  turns(2 * static_cast<int>(GuessRecord::kMemoryTrials), guess);
  EXPECT_TRUE(record.worth_reading(0));
}

TEST(GuessRecord, MoreGuessesThanRanksAreTaken) {
  GuessRecord record(2);
  const std::array<int32_t, 4> guesses = {1, 2, 3, 4};
  record.note(0, guesses, 1);
  record.settle(0, guesses);
  EXPECT_TRUE(record.worth_reading(3));
}

}  // namespace
}  // namespace flashmoe
