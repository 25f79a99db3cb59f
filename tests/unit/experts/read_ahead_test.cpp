#include "experts/read_ahead.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

constexpr int kTrial = ReadAhead::kTokensPerTurn * ReadAhead::kTurns;

// Decodes n tokens; each takes `with_ms` where read-ahead is on, `without_ms` where it is off.
int decode(ReadAhead& ahead, int n, uint64_t& now_ns, double with_ms, double without_ms) {
  int n_on = 0;
  for (int i = 0; i < n; ++i) {
    ahead.begin_token(now_ns, true);
    n_on += ahead.on() ? 1 : 0;
    now_ns += static_cast<uint64_t>((ahead.on() ? with_ms : without_ms) * 1e6);
  }
  return n_on;
}

TEST(ReadAhead, TriesBothWaysAndKeepsTheFaster) {
  ReadAhead gains(ReadAheadChoice::automatic), loses(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  EXPECT_EQ(gains.verdict(), "tried");
  decode(gains, kTrial + 1, now, 80, 100);
  EXPECT_EQ(decode(gains, 100, now, 80, 100), 100);
  EXPECT_EQ(gains.verdict(), "on: 80.0 ms a token with it, 100.0 without");
  decode(loses, kTrial + 1, now, 100, 80);
  EXPECT_EQ(decode(loses, 100, now, 100, 80), 0);
  EXPECT_EQ(loses.verdict(), "off: 100.0 ms a token with it, 80.0 without");
}

TEST(ReadAhead, HalfOfATrialIsOn) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  const int n_on = decode(ahead, kTrial, now, 80, 100);
  EXPECT_NEAR(n_on, kTrial / 2, 1);
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
  decode(ahead, kTrial + 1, now, 100, 80);
  ASSERT_FALSE(ahead.on());
  decode(ahead, ReadAhead::kFirstKept, now, 50, 80);
  decode(ahead, kTrial, now, 50, 80);
  EXPECT_TRUE(ahead.on());
}

// Tokens of 100 ms with read-ahead and 80 without, until the next trial begins.
int tokens_kept(ReadAhead& ahead, uint64_t& now) {
  int n = 0;
  while (decode(ahead, 1, now, 100, 80) == 0) ++n;
  decode(ahead, kTrial - 1, now, 100, 80);
  return n;
}

// The first trial may have met a cache that fills, or memory that is touched for the first time.
TEST(ReadAhead, WhatTrialsAgreeOnIsKeptLonger) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  decode(ahead, kTrial, now, 100, 80);
  int last = 0;
  for (int expected = ReadAhead::kFirstKept; expected < ReadAhead::kMostKept; expected *= 2) {
    last = tokens_kept(ahead, now);
    EXPECT_NEAR(last, expected, 1);
  }
  for (int i = 0; i < 2; ++i) EXPECT_NEAR(tokens_kept(ahead, now), ReadAhead::kMostKept, 1);
  EXPECT_LT(last, ReadAhead::kMostKept);
  // Another verdict is as new as the first.
  decode(ahead, ReadAhead::kMostKept + kTrial + 2, now, 80, 100);
  ASSERT_TRUE(ahead.on());
  decode(ahead, ReadAhead::kFirstKept + kTrial, now, 100, 80);
  EXPECT_FALSE(ahead.on());
}

TEST(ReadAhead, APromptIsNoToken) {
  ReadAhead ahead(ReadAheadChoice::automatic);
  uint64_t now = 1000;
  for (int i = 0; i < kTrial; ++i) {
    ahead.begin_token(now, false);
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
