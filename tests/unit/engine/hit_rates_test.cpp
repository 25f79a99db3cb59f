#include "engine/hit_rates.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/forecast.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

HitRatePoint point(double share, double hit_rate) { return {.share = share, .hit_rate = hit_rate, .machine = {}}; }

TEST(ExpectedHitRate, GoesThroughWhatWasSeen) {
  EXPECT_EQ(expected_hit_rate({}, 0.3), usual_hit_rate(0.3));
  const std::vector<HitRatePoint> seen = {point(0.6, 0.98), point(0.13, 0.52), point(0.37, 0.88)};
  for (const HitRatePoint& point : seen) EXPECT_NEAR(expected_hit_rate(seen, point.share), point.hit_rate, 1e-9);
  EXPECT_EQ(expected_hit_rate(seen, 0), 0);
  EXPECT_EQ(expected_hit_rate(seen, 1), 1);
  for (double share = 0; share < 0.99; share += 0.01) {
    EXPECT_LE(expected_hit_rate(seen, share), expected_hit_rate(seen, share + 0.01)) << share;
  }
}

TEST(ExpectedHitRate, OnePointBendsTheWholeCurve) {
  const std::vector<HitRatePoint> better = {point(0.3, 0.9)};
  for (const double share : {0.1, 0.2, 0.5, 0.8}) {
    EXPECT_GT(expected_hit_rate(better, share), usual_hit_rate(share));
    EXPECT_LT(expected_hit_rate(better, share), 1);
  }
  const std::vector<HitRatePoint> perfect = {point(0.3, 1.0)}, useless = {point(0.3, 0.0)};
  EXPECT_GT(expected_hit_rate(perfect, 0.3), 0.99);
  EXPECT_LT(expected_hit_rate(useless, 0.3), 0.2);
}

TEST(HitRates, AreThereTheNextTime) {
  const TempDir dir;
  const std::string folder = dir.path() + "/cache/flashmoe";
  const std::vector<std::string> files = {dir.path() + "/m.gguf"};
  std::ofstream(files.front()) << "model";
  EXPECT_TRUE(HitRates(folder, files, 5).points().empty());
  EXPECT_TRUE(HitRates(folder, files, 5).remember(point(0.2, 0.5)));
  EXPECT_TRUE(HitRates(folder, files, 5).remember(point(0.4, 0.7)));
  EXPECT_TRUE(HitRates(folder, files, 5).remember(point(0.205, 0.6)));  // instead of the first
  const HitRates rates(folder, files, 5);
  ASSERT_EQ(rates.points().size(), 2u);
  EXPECT_EQ(rates.points()[1].hit_rate, 0.6);
  EXPECT_TRUE(HitRates(folder, files, 6).points().empty());  // another model
}

TEST(HitRates, TheLatestTimeOfTheSameThreadsAndKernelsCounts) {
  const TempDir dir;
  const std::vector<std::string> files = {dir.path() + "/m.gguf"};
  std::ofstream(files.front()) << "model";
  const std::string two = machine_of(2, "avx2", false), four = machine_of(4, "avx2", false);
  HitRates rates(dir.path(), files, 5);
  EXPECT_FALSE(rates.compute_s(two));
  rates.remember({.share = 0.2, .hit_rate = 0.5, .compute_s = 0.07, .machine = two});
  rates.remember({.share = 0.4, .hit_rate = 0.5, .compute_s = 0.06, .machine = two});
  rates.remember({.share = 0.6, .hit_rate = 0.5, .compute_s = 0.03, .machine = four});
  EXPECT_EQ(HitRates(dir.path(), files, 5).compute_s(two), 0.06);
  EXPECT_EQ(HitRates(dir.path(), files, 5).compute_s(four), 0.03);
  EXPECT_FALSE(HitRates(dir.path(), files, 5).compute_s(machine_of(2, "avx2", true)));
}

TEST(HitRates, WhatWasWaitedIsOfTheNearestShareWithTheSameThreadsAndKernels) {
  const TempDir dir;
  const std::vector<std::string> files = {dir.path() + "/m.gguf"};
  std::ofstream(files.front()) << "model";
  const std::string two = machine_of(2, "avx2", false), four = machine_of(4, "avx2", false);
  HitRates rates(dir.path(), files, 5);
  EXPECT_FALSE(rates.waited_share(two, 0.2));
  rates.remember({.share = 0.2, .hit_rate = 0.5, .compute_s = 0.07, .waited_share = 0.5, .machine = two});
  rates.remember({.share = 0.6, .hit_rate = 0.9, .compute_s = 0.06, .waited_share = 0.75, .machine = two});
  rates.remember({.share = 0.3, .hit_rate = 0.6, .compute_s = 0.03, .waited_share = 0.25, .machine = four});
  rates.remember({.share = 0.25, .hit_rate = 0.6, .compute_s = 0.03, .machine = two});  // before this was known
  const HitRates again(dir.path(), files, 5);
  EXPECT_EQ(again.waited_share(two, 0.3), 0.5);
  EXPECT_EQ(again.waited_share(two, 0.5), 0.75);
  EXPECT_EQ(again.waited_share(four, 0.9), 0.25);
}

TEST(HitRates, OfAllExpertsInMemoryTellTimesAndNoHits) {
  const TempDir dir;
  const std::vector<std::string> files = {dir.path() + "/m.gguf"};
  std::ofstream(files.front()) << "model";
  const std::string two = machine_of(2, "avx2", false);
  HitRates(dir.path(), files, 5)
      .remember({.share = 1, .hit_rate = 1, .compute_s = 0.07, .prefill_compute_s = 0.002, .machine = two});
  const HitRates rates(dir.path(), files, 5);
  EXPECT_EQ(rates.compute_s(two), 0.07);
  EXPECT_EQ(rates.prefill_compute_s(two), 0.002);
  EXPECT_FALSE(rates.know_hits());
  EXPECT_EQ(expected_hit_rate(rates.points(), 0.2), usual_hit_rate(0.2));
  HitRates(dir.path(), files, 5).remember(point(0.2, 0.9));
  EXPECT_TRUE(HitRates(dir.path(), files, 5).know_hits());
  EXPECT_NEAR(expected_hit_rate(HitRates(dir.path(), files, 5).points(), 0.2), 0.9, 1e-9);
}

TEST(HitRates, AreNotThereWhereTheyCannotBe) {
  EXPECT_FALSE(HitRates("", {"m.gguf"}, 5).remember(point(0.2, 0.5)));
  EXPECT_FALSE(HitRates("/proc/nowhere", {"m.gguf"}, 5).remember(point(0.2, 0.5)));
}

TEST(HitRates, NonsenseInTheFileCountsAsNothing) {
  const TempDir dir;
  const std::vector<std::string> files = {dir.path() + "/m.gguf"};
  std::ofstream(files.front()) << "model";
  HitRates(dir.path(), files, 5).remember(point(0.2, 0.5));
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    if (entry.path().extension() == ".json") path = entry.path().string();
  }
  ASSERT_FALSE(path.empty());
  for (const char* text :
       {"", "{", "7", "[7, {}, {\"share\": \"x\", \"hit_rate\": 1}, {\"share\": 2, \"hit_rate\": 1}]"}) {
    std::ofstream(path) << text;
    EXPECT_TRUE(HitRates(dir.path(), files, 5).points().empty()) << text;
  }
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_TRUE(HitRates(dir.path(), files, 5).points().empty());
}

}  // namespace
}  // namespace flashmoe
