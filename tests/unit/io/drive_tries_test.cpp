#include "io/drive_tries.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

TEST(DriveTries, ALoneDriveIsAskedTwice) {
  for (const uint32_t known : {0U, 1U}) {
    DriveTries tries;
    EXPECT_EQ(tries.next(known, 1), 0U);
    EXPECT_EQ(tries.next(known, 1), std::nullopt);
    EXPECT_EQ(tries.n(), 2);
  }
}

TEST(DriveTries, TheOthersAreAskedOneByOne) {
  DriveTries tries;
  EXPECT_EQ(tries.next(0b010, 3), 0b110U);
  EXPECT_EQ(tries.next(0b001, 3), 0b011U);
  EXPECT_EQ(tries.suspects(0b100), 0b011U);
  EXPECT_EQ(tries.next(0b100, 3), std::nullopt);
}

TEST(DriveTries, WhatCameFromSeveralIsAskedOfEachAlone) {
  DriveTries tries;
  EXPECT_EQ(tries.next(0b11, 2), 0b10U);
  EXPECT_EQ(tries.suspects(0b01), 0b10U);
  EXPECT_EQ(tries.next(0b01, 2), 0b01U);
  EXPECT_EQ(tries.next(0b10, 2), std::nullopt);
}

TEST(DriveTries, ADriveThatAnswersForAnotherDoesNotGoOnForEver) {
  DriveTries tries;
  int n = 1;
  while (tries.next(0b01, 2)) ++n;
  EXPECT_LE(n, 3);
}

}  // namespace
}  // namespace flashmoe
