#include "experts/read_ahead.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

constexpr int kTrial = ReadAhead::kTokensPerTurn * ReadAhead::kTurns;
constexpr int kKept = ReadAhead::kFirstKept - 1;

// Decodes n tokens of so many sequences; each step takes `with_ms` where read-ahead is on, `without_ms` where it is
// off.
int decode(ReadAhead& ahead, int n, uint64_t& now_ns, double with_ms, double without_ms, int64_t n_rows = 1) {
  int n_on = 0;
  for (int i = 0; i < n; ++i) {
    ahead.begin_step(now_ns, n_rows);
    n_on += ahead.on() ? 1 : 0;
    now_ns += static_cast<uint64_t>((ahead.on() ? with_ms : without_ms) * 1e6);
    ahead.end_step(now_ns);
  }
  return n_on;
}

TEST(ReadAhead, TriesBothWaysAndKeepsTheFaster) {
  ReadAhead gains(ReadAheadChoice::automatic), loses(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  EXPECT_EQ(gains.verdict(), "tried");
  decode(gains, kTrial + 1, now, 95, 100);
  EXPECT_EQ(decode(gains, kKept, now, 95, 100), kKept);
  EXPECT_EQ(gains.verdict(), "on: 95.0 ms a token with it, 100.0 without");
  decode(loses, kTrial + 1, now, 100, 95);
  EXPECT_EQ(decode(loses, kKept, now, 100, 95), 0);
  EXPECT_EQ(loses.verdict(), "off: 100.0 ms a token with it, 95.0 without");
}

TEST(ReadAhead, HalfOfATrialIsOn) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  const int n_on = decode(ahead, kTrial, now, 95, 100);
  EXPECT_NEAR(n_on, kTrial / 2, 1);
}

TEST(ReadAhead, ATrialEndsWhenItIsClear) {
  ReadAhead gains(ReadAheadChoice::automatic), loses(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  EXPECT_EQ(decode(gains, ReadAhead::kFewestTried, now, 80, 100), ReadAhead::kFewestTried / 2);
  EXPECT_EQ(decode(gains, ReadAhead::kFirstKept, now, 80, 100), ReadAhead::kFirstKept);
  EXPECT_EQ(gains.verdict(), "on: 80.0 ms a token with it, 100.0 without");
  EXPECT_EQ(decode(gains, ReadAhead::kFewestTried, now, 80, 100), ReadAhead::kFewestTried / 2);  // the next one
  decode(loses, ReadAhead::kFewestTried, now, 100, 80);
  EXPECT_EQ(decode(loses, ReadAhead::kFirstKept, now, 100, 80), 0);
}

TEST(ReadAhead, NoGainIsNotWorthIt) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  decode(ahead, kTrial + 1, now, 100, 100);
  EXPECT_FALSE(ahead.on());
}

TEST(ReadAhead, TriesAgainLater) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  decode(ahead, kTrial + 1, now, 100, 95);
  ASSERT_FALSE(ahead.on());
  decode(ahead, ReadAhead::kFirstKept, now, 90, 95);
  decode(ahead, kTrial, now, 90, 95);
  EXPECT_TRUE(ahead.on());
}

TEST(ReadAhead, TriesMoreRarelyInTime) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  decode(ahead, 20'000, now, 95, 100);
  EXPECT_GE(decode(ahead, 20'000, now, 95, 100), 20'000 - 20 * kTrial / 2);
}

// A step of four takes longer than one of one, whatever is read ahead.
TEST(ReadAhead, StepsOfEachNumberOfSequencesAreComparedAmongEachOther) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  for (int turn = 0; turn < 2 * ReadAhead::kTurns; ++turn) {
    const bool one = turn % 2 == 0;
    decode(ahead, ReadAhead::kTokensPerTurn, now, one ? 95 : 400, one ? 100 : 380, one ? 1 : 4);
  }
  decode(ahead, 1, now, 95, 100);
  EXPECT_EQ(ahead.verdict(), "off: 400.0 ms a step of 4 with it, 380.0 without");
  EXPECT_TRUE(ahead.on());
  decode(ahead, 1, now, 400, 380, 4);
  EXPECT_FALSE(ahead.on());
}

TEST(ReadAhead, WhatComesBetweenTwoStepsDoesNotCount) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  for (int i = 0; i <= kTrial; ++i) {
    decode(ahead, 1, now, 95, 100);
    now += i % 2 == 0 ? 3'600'000'000'000 : 0;
  }
  EXPECT_EQ(ahead.verdict(), "on: 95.0 ms a token with it, 100.0 without");
}

TEST(ReadAhead, AStepThatWasBrokenOffDoesNotCount) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  for (int i = 0; i < kTrial; ++i) {
    ahead.begin_step(now, 1);
    now += 5'000'000;
  }
  EXPECT_EQ(decode(ahead, ReadAhead::kTokensPerTurn, now, 95, 100), ReadAhead::kTokensPerTurn);
  EXPECT_EQ(ahead.verdict(), "tried");
}

TEST(ReadAhead, APromptIsNoToken) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  for (int i = 0; i < kTrial; ++i) {
    ahead.begin_step(now, kGuessedRows + 1);
    now += 1'000'000'000;
  }
  EXPECT_EQ(ahead.verdict(), "tried");
}

TEST(ReadAhead, WhatWasChosenStays) {
  ReadAhead on(ReadAheadChoice::on), off(ReadAheadChoice::off);
  uint64_t now = 1000;
  EXPECT_EQ(decode(on, 200, now, 100, 1), 200);
  EXPECT_EQ(decode(off, 200, now, 1, 100), 0);
  EXPECT_EQ(on.verdict(), "on");
  EXPECT_EQ(off.verdict(), "off");
}

}  // namespace
}  // namespace flashmoe
