#include "engine/forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "flashmoe/engine.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

TEST(UsualHitRate, IsTheRecordedOneAndRises) {
  EXPECT_EQ(usual_hit_rate(0), 0);
  EXPECT_EQ(usual_hit_rate(-1), 0);
  EXPECT_DOUBLE_EQ(usual_hit_rate(0.2), 0.63);
  EXPECT_DOUBLE_EQ(usual_hit_rate(0.15), (0.48 + 0.63) / 2);
  EXPECT_EQ(usual_hit_rate(1), 1);
  EXPECT_EQ(usual_hit_rate(2), 1);
  for (double share = 0; share < 1; share += 0.01) EXPECT_LT(usual_hit_rate(share), usual_hit_rate(share + 0.01));
}

// Two picks a layer, 1 ms each to compute, and .4 ms more where they are missed; reading one takes 5 ms and two 8 ms.
ForecastModel two_picks() { return {.n_layers = 10, .n_experts = 8, .n_used = 2, .bytes_per_expert = 1e6}; }
Speeds slow_disk() {
  Speeds speeds;
  speeds.roofs.ram_gb_per_s = 10;
  speeds.roofs.disk_gb_per_s = 0.25;
  speeds.trunk_s = 0.03;
  speeds.expert_s = 1e-3;
  speeds.burst_s = {0, 5e-3, 8e-3};
  speeds.prefill_trunk_s = 0.2;
  speeds.prefill_expert_s = 2e-3;
  return speeds;
}
Forecast half_hit() {
  Forecast f;
  f.speeds = slow_disk();
  f.hit_rate = 0.5;
  return f;
}

TEST(DiskWait, IsWhatReadsOutlastTheComputing) {
  const Speeds speeds = slow_disk();
  EXPECT_EQ(disk_wait_of_layer(two_picks(), speeds, 1), 0);
  // Both missed: 8 ms of reading and the last one's 1 ms, of which 2 ms would have been computed anyway.
  EXPECT_NEAR(disk_wait_of_layer(two_picks(), speeds, 0), 7e-3, 1e-12);
  // Half the picks hit: none missed 1/4, one 1/2, two 1/4.
  EXPECT_NEAR(disk_wait_of_layer(two_picks(), speeds, 0.5), 0.5 * 4e-3 + 0.25 * 7e-3, 1e-12);
}

TEST(DiskWait, SharedExpertAndHitsHideReads) {
  ForecastModel model = two_picks();
  model.shared_expert_s = 10e-3;
  EXPECT_EQ(disk_wait_of_layer(model, slow_disk(), 0), 0);
}

TEST(DistinctExperts, OfOneTokenAndOfMany) {
  EXPECT_NEAR(distinct_experts(two_picks(), 1), 2, 1e-12);
  EXPECT_NEAR(distinct_experts(two_picks(), 2), 8 * (1 - std::pow(0.75, std::pow(2, 0.7))), 1e-12);
  EXPECT_NEAR(distinct_experts(two_picks(), 1000), 8, 1e-9);
}

// 256 experts of which 8 are picked, and 64: what text really picked, in docs/experiments/0028.
TEST(DistinctExperts, OfTextAreFewerThanOfEvenPicks) {
  const auto model = [](int n_experts) { return ForecastModel{.n_layers = 1, .n_experts = n_experts, .n_used = 8}; };
  for (const auto& [n_tokens, picked] : {std::pair{4, 22.0}, {16, 58.0}, {64, 123.0}, {128, 159.6}}) {
    EXPECT_NEAR(distinct_experts(model(256), n_tokens) / picked, 1, 0.15) << n_tokens;
  }
  for (const auto& [n_tokens, picked] : {std::pair{4, 19.3}, {16, 39.2}, {64, 55.1}, {128, 58.6}}) {
    EXPECT_NEAR(distinct_experts(model(64), n_tokens) / picked, 1, 0.15) << n_tokens;
  }
}

TEST(Complete, Streamed) {
  Forecast f;
  f.speeds = slow_disk();
  f.cache_share = 0.25;
  f.hit_rate = 0.5;
  complete(f, two_picks(), 1000);
  EXPECT_NEAR(f.compute_s, 0.03 + 10 * (2 * 1e-3 + 0.4e-3), 1e-12);
  EXPECT_NEAR(f.bytes_missed_per_token, 0.5 * 10 * 2 * 1e6, 1e-3);
  EXPECT_NEAR(f.disk_wait_s, 10 * 3.75e-3, 1e-12);
  EXPECT_NEAR(f.decode_warm, 1 / (0.054 + 0.0375), 1e-9);
  EXPECT_NEAR(f.decode_cold, 1 / (0.058 + 0.07), 1e-9);
  EXPECT_NEAR(f.prefill, 1000 / 0.36, 1e-3);  // 0.2 s and 80 experts of 2 ms; the disk needs 0.24 s for 60 MB
  f.speeds.roofs.disk_gb_per_s = 0.1;
  complete(f, two_picks(), 1000);
  EXPECT_NEAR(f.prefill, 1000 / 0.6, 1e-3);
}

TEST(Undisturbed, ReadingMoreTakesNoLess) {
  EXPECT_EQ(undisturbed({0, 3, 2, 5, 4}), std::vector<double>({0, 2, 2, 4, 4}));
  EXPECT_EQ(undisturbed({0, 1, 2}), std::vector<double>({0, 1, 2}));
}

// By a look at the drive reads take longer than bursts took.
TEST(Complete, AColdCacheIsNoFasterThanAWarmOne) {
  Forecast f = half_hit();
  ForecastModel model = two_picks();
  model.waited_share = 1;
  f.speeds.roofs.disk_gb_per_s = 0.01;
  complete(f, model, 1000);
  EXPECT_LT(f.decode_cold, f.decode_warm);
}

TEST(Complete, ABenchmarkKnowsWhatComputingTakes) {
  Forecast f = half_hit();
  ForecastModel model = two_picks();
  model.compute_s = 0.0625;
  model.computed_hit_rate = 0.5;
  complete(f, model, 1000);
  EXPECT_EQ(f.compute_s, 0.0625);
  EXPECT_NEAR(f.decode_warm, 10, 1e-9);
}

// 20 picks of 1 MB, four times through memory of 10 GB/s.
TEST(Complete, ABenchmarkWithOtherMissesIsCorrected) {
  Forecast f = half_hit();
  ForecastModel model = two_picks();
  model.compute_s = 0.0625;
  model.computed_hit_rate = 1;
  complete(f, model, 1000);
  EXPECT_NEAR(f.compute_s, 0.0625 + 0.004, 1e-12);
  EXPECT_NEAR(f.decode_cold, 1 / (0.0625 + 0.008 + 0.07), 1e-9);
  model.computed_hit_rate = 0;
  complete(f, model, 1000);
  EXPECT_NEAR(f.compute_s, 0.0625 - 0.004, 1e-12);
  f.speeds.roofs.ram_gb_per_s = 0.01;  // now, and not when that was measured
  complete(f, model, 1000);
  EXPECT_NEAR(f.compute_s, 0.0625 / 2, 1e-12);
}

// Reads that begin before they are asked for, and a mixer that runs meanwhile, are in no arithmetic.
TEST(Complete, ABenchmarkKnowsWhatIsWaited) {
  ForecastModel model = two_picks();
  model.waited_share = 0.5;
  Forecast f = half_hit();
  complete(f, model, 1000);
  EXPECT_NEAR(f.disk_wait_s, 0.5 * 10 * 1e6 / 0.25e9, 1e-12);
  EXPECT_NEAR(f.decode_warm, 1 / (f.compute_s + f.disk_wait_s), 1e-9);
  EXPECT_NEAR(f.decode_cold, 1 / (0.058 + 0.07), 1e-9);
}

// What the trunk and the experts take hides reads.
TEST(Complete, PromptsWaitForReadsThatOutlastComputing) {
  ForecastModel model = two_picks();
  model.n_experts = 1000;
  const double distinct = distinct_experts(model, 100);
  ASSERT_LT(distinct, 100);
  Forecast f;
  f.speeds = slow_disk();
  f.cache_share = 0;
  f.hit_rate = 0.5;
  complete(f, model, 100);
  const double read_s = 10 * distinct * 1e6 / 0.25e9, experts_s = 10 * distinct * 2e-3;
  ASSERT_GT(read_s, 0.2 + experts_s);
  EXPECT_NEAR(f.prefill, 100 / read_s, 1e-6);
  model.prefill_compute_s = 3 * (0.2 + experts_s) / 100;  // a benchmark knows that it takes three times as long
  ASSERT_LT(read_s, 3 * (0.2 + experts_s));
  complete(f, model, 100);
  EXPECT_NEAR(f.prefill, 100 / (3 * (0.2 + experts_s)), 1e-6);
}

TEST(Complete, Resident) {
  Forecast f;
  f.plan.experts_resident = true;
  f.speeds = slow_disk();
  complete(f, two_picks(), 1000);
  EXPECT_NEAR(f.decode_warm, 20, 1e-9);
  EXPECT_EQ(f.decode_cold, f.decode_warm);
  EXPECT_EQ(f.disk_wait_s, 0);
}

TEST(Speeds, OfTwoMeasurementsTheFasterCounts) {
  Speeds slower = slow_disk();
  slower.trunk_s = 0.04;
  slower.burst_s.clear();
  Speeds faster = slow_disk();
  faster.expert_s = 0.5e-3;
  const Speeds both = with_faster_matrices(faster, slower);
  EXPECT_EQ(both.trunk_s, 0.03);
  EXPECT_EQ(both.expert_s, 0.5e-3);
  EXPECT_EQ(both.burst_s.size(), 3u);
}

TEST(EngineForecast, MeasuresWithoutLoading) {
  const TempDir dir;
  EngineOptions options;
  options.model_path = write_tiny_model(dir.path(), {});
  options.experts = ExpertsChoice::streamed;
  options.ram_bytes = 1 << 30;
  const auto engine = Engine::open(options);
  const Forecast f = engine->forecast(64, 16);
  EXPECT_EQ(f.cache_share, 1);  // a tiny model
  EXPECT_EQ(f.hit_rate, 1);
  EXPECT_EQ(f.disk_wait_s, 0);
  EXPECT_GT(f.decode_warm, f.decode_cold);
  EXPECT_GT(f.decode_cold, 0);
  EXPECT_GT(f.prefill, 0);
  ASSERT_EQ(f.speeds.burst_s.size(), 3u);
  EXPECT_GT(f.speeds.burst_s[2], 0);
  const Forecast half = engine->forecast(64, 16, 0.5);
  EXPECT_EQ(half.hit_rate, 0.5);
  EXPECT_GT(half.bytes_missed_per_token, 0);
}

}  // namespace
}  // namespace flashmoe
