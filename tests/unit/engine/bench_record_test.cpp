#include "engine/bench_record.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/cache_folder.h"
#include "engine/forecast.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

BenchPoint point(double share, double hit_rate) { return {.share = share, .hit_rate = hit_rate, .machine = {}}; }

TEST(ExpectedHitRate, GoesThroughWhatWasSeen) {
  EXPECT_EQ(expected_hit_rate({}, 0.3), usual_hit_rate(0.3));
  const std::vector<BenchPoint> seen = {point(0.6, 0.98), point(0.13, 0.52), point(0.37, 0.88)};
  for (const BenchPoint& point : seen) EXPECT_NEAR(expected_hit_rate(seen, point.share), point.hit_rate, 1e-9);
  EXPECT_EQ(expected_hit_rate(seen, 0), 0);
  EXPECT_EQ(expected_hit_rate(seen, 1), 1);
  for (double share = 0; share < 0.99; share += 0.01) {
    EXPECT_LE(expected_hit_rate(seen, share), expected_hit_rate(seen, share + 0.01)) << share;
  }
}

TEST(ExpectedHitRate, OnePointBendsTheWholeCurve) {
  const std::vector<BenchPoint> better = {point(0.3, 0.9)};
  for (const double share : {0.1, 0.2, 0.5, 0.8}) {
    EXPECT_GT(expected_hit_rate(better, share), usual_hit_rate(share));
    EXPECT_LT(expected_hit_rate(better, share), 1);
  }
  const std::vector<BenchPoint> perfect = {point(0.3, 1.0)}, useless = {point(0.3, 0.0)};
  EXPECT_GT(expected_hit_rate(perfect, 0.3), 0.99);
  EXPECT_LT(expected_hit_rate(useless, 0.3), 0.2);
}

// Of a model of one file of five bytes.
class BenchRecordTest : public testing::Test {
 protected:
  BenchRecordTest() { std::ofstream(files_.front()) << "model"; }
  BenchRecord rates() const { return {folder_, files_, 5}; }

  const TempDir dir_;
  const std::string folder_ = dir_ / "cache/flashmoe";
  const std::vector<std::string> files_ = {dir_ / "m.gguf"};
  const std::string two_ = machine_of(2, "avx2", false), four_ = machine_of(4, "avx2", false);
};

TEST_F(BenchRecordTest, AreThereTheNextTime) {
  EXPECT_TRUE(rates().points().empty());
  EXPECT_TRUE(rates().remember(point(0.2, 0.5)));
  EXPECT_TRUE(rates().remember(point(0.4, 0.7)));
  EXPECT_TRUE(rates().remember(point(0.205, 0.6)));  // instead of the first
  const BenchRecord seen = rates();
  ASSERT_EQ(seen.points().size(), 2u);
  EXPECT_EQ(seen.points()[1].hit_rate, 0.6);
  EXPECT_TRUE(BenchRecord(folder_, files_, 6).points().empty());  // another model
}

TEST_F(BenchRecordTest, NumbersThatNoMachineHasAreNotTaken) {
  BenchPoint sane = point(0.2, 0.5);
  sane.machine = two_;
  sane.compute_s = 0.05;
  sane.waited_share = 0.5;
  ASSERT_TRUE(rates().remember(sane));
  const std::string path = model_record_path(folder_, files_, 5) + ".hit_rates.json", good = read_bytes(path);
  for (const std::string& entry : {std::string("\"compute_s\":0.05"), std::string("\"waited_share\":0.5")}) {
    for (const char* wrong : {"1e308", "-1", "1e-320", "null", "\"many\""}) {
      std::string bytes = good;
      const size_t at = bytes.find(entry);
      ASSERT_NE(at, std::string::npos) << good;
      bytes.replace(at, entry.size(), entry.substr(0, entry.find(':') + 1) + wrong);
      write_bytes(path, bytes);
      ASSERT_EQ(rates().points().size(), 1u) << bytes;
      const BenchPoint seen = rates().points().front();
      EXPECT_EQ(seen.hit_rate, 0.5);
      EXPECT_LE(seen.waited_share, 0.5) << wrong;
      EXPECT_TRUE(seen.compute_s == 0 || seen.compute_s == 0.05) << wrong;
    }
  }
}

TEST_F(BenchRecordTest, TheNearestShareWithTheSameThreadsAndKernelsTells) {
  const auto waited = [this](const std::string& machine, double share) {
    const BenchRecord seen = rates();
    const BenchPoint* point = seen.nearest(machine, share, &BenchPoint::waited_share);
    return point == nullptr ? 0 : point->waited_share;
  };
  EXPECT_EQ(waited(two_, 0.2), 0);
  BenchRecord seen = rates();
  seen.remember({.share = 0.2, .hit_rate = 0.5, .compute_s = 0.07, .waited_share = 0.5, .machine = two_});
  seen.remember({.share = 0.6, .hit_rate = 0.9, .compute_s = 0.06, .waited_share = 0.75, .machine = two_});
  seen.remember({.share = 0.3, .hit_rate = 0.6, .compute_s = 0.03, .waited_share = 0.25, .machine = four_});
  seen.remember({.share = 0.25, .hit_rate = 0.6, .compute_s = 0.03, .machine = two_});  // does not tell
  EXPECT_EQ(waited(two_, 0.3), 0.5);
  EXPECT_EQ(waited(two_, 0.5), 0.75);
  EXPECT_EQ(waited(four_, 0.9), 0.25);
  EXPECT_EQ(waited(machine_of(2, "avx2", true), 0.3), 0);
}

TEST_F(BenchRecordTest, OfTwoThatAreAsNearTheLaterTells) {
  BenchRecord seen = rates();
  seen.remember({.share = 0.5, .hit_rate = 0.5, .compute_s = 0.07, .machine = two_});
  seen.remember({.share = 0.25, .hit_rate = 0.5, .compute_s = 0.06, .machine = two_});
  EXPECT_EQ(rates().nearest(two_, 0.375, &BenchPoint::compute_s)->compute_s, 0.06);
}

TEST_F(BenchRecordTest, OfAllExpertsInMemoryTellTimesAndNoHits) {
  rates().remember({.share = 1, .hit_rate = 1, .compute_s = 0.07, .prefill_compute_s = 0.002, .machine = two_});
  const BenchRecord seen = rates();
  EXPECT_EQ(seen.nearest(two_, 0.2, &BenchPoint::compute_s)->compute_s, 0.07);
  EXPECT_EQ(seen.nearest(two_, 0.2, &BenchPoint::prefill_compute_s)->prefill_compute_s, 0.002);
  EXPECT_FALSE(seen.know_hits());
  EXPECT_EQ(expected_hit_rate(seen.points(), 0.2), usual_hit_rate(0.2));
  rates().remember(point(0.2, 0.9));
  EXPECT_TRUE(rates().know_hits());
  EXPECT_NEAR(expected_hit_rate(rates().points(), 0.2), 0.9, 1e-9);
}

TEST_F(BenchRecordTest, WhatARunHadStaysWhereOthersAreReplayed) {
  BenchRecord seen = rates();
  EXPECT_TRUE(seen.remember_others(std::vector{point(0.2, 0.4), point(0.5, 0.8)}));
  seen.remember({.share = 0.201, .hit_rate = 0.6, .compute_s = 0.07, .machine = two_});
  EXPECT_TRUE(seen.remember_others(std::vector{point(0.2, 0.5), point(0.5, 0.85)}));
  const auto points = rates().points();
  ASSERT_EQ(points.size(), 2u);
  EXPECT_NEAR(expected_hit_rate(points, 0.201), 0.6, 1e-9);
  EXPECT_NEAR(expected_hit_rate(points, 0.5), 0.85, 1e-9);
  EXPECT_EQ(rates().nearest("", 0.5, &BenchPoint::compute_s), nullptr) << "nothing ran with that size";
  ForecastModel model;
  rates().tell(two_, 0.5, model);
  EXPECT_EQ(model.compute_s, 0.07);
  EXPECT_EQ(model.computed_hit_rate, 0.6);
  EXPECT_EQ(model.waited_share, 0);
}

TEST_F(BenchRecordTest, AreNotThereWhereTheyCannotBe) {
  EXPECT_FALSE(BenchRecord("", {"m.gguf"}, 5).remember(point(0.2, 0.5)));
  EXPECT_FALSE(BenchRecord("/proc/nowhere", {"m.gguf"}, 5).remember(point(0.2, 0.5)));
}

TEST_F(BenchRecordTest, NonsenseInTheFileCountsAsNothing) {
  rates().remember(point(0.2, 0.5));
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (entry.path().extension() == ".json") path = entry.path().string();
  }
  ASSERT_FALSE(path.empty());
  for (const char* text :
       {"", "{", "7", "[7, {}, {\"share\": \"x\", \"hit_rate\": 1}, {\"share\": 2, \"hit_rate\": 1}]"}) {
    std::ofstream(path) << text;
    EXPECT_TRUE(rates().points().empty()) << text;
  }
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_TRUE(rates().points().empty());
}

}  // namespace
}  // namespace flashmoe
