#include "flashmoe/moe_bench.h"

#include <gtest/gtest.h>

#include "flashmoe/error.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

class MoeBenchTest : public testing::Test {
 protected:
  MoeBenchTest() {
    tiny_.n_experts = 64;
    tiny_.n_experts_used = 4;
    options_.model_path = write_tiny_model(dir_.path(), tiny_);  // no tokenizer
    options_.n_threads = 2;
    options_.ram_bytes = 1 << 30;
    options_.context_tokens = 128;
  }
  // gate, up and down in F32.
  double record_bytes() const { return 3.0 * tiny_.d_model * tiny_.d_ff * sizeof(float); }
  // With --ram that leaves about `cache_bytes` for the cache, which is streamed into. The program may grow between the
  // plan and the run, under a sanitizer by megabytes: then once more.
  MoeBenchResult run_streamed(uint64_t cache_bytes, const MoeBenchOptions& bench) {
    options_.experts = ExpertsChoice::streamed;
    for (int n_tries = 1;; ++n_tries) {
      options_.ram_bytes = 1 << 30;
      const MemoryPlan wide = Engine::open(options_)->plan();
      uint64_t others = 0;
      for (const Allotment& a : wide.allotments) others += a.name == "expert_cache" ? 0 : a.bytes;
      const uint64_t page_tables = options_.ram_bytes / 256;  // they follow the limit
      options_.ram_bytes = (others - page_tables + cache_bytes + (1 << 20)) * 256 / 255;
      try {
        return run_moe_bench(options_, bench);
      } catch (const Error& error) {
        if (error.fault() != Fault::memory_floor || n_tries == 20) throw;
      }
    }
  }

  TempDir dir_;
  TinyModelOptions tiny_;
  EngineOptions options_;
};

TEST_F(MoeBenchTest, EverythingInMemoryIsReadOnce) {
  const MoeBenchResult r = run_moe_bench(options_, {.n_tokens = 40, .n_repetitions = 2});
  EXPECT_TRUE(r.plan.experts_resident);
  EXPECT_EQ(r.n_layers, 4);
  EXPECT_EQ(r.n_used, 4);
  EXPECT_EQ(r.cache_share, 1);
  EXPECT_LT(r.cold.hit_rate, 1);
  EXPECT_NEAR(r.cold.bytes_missed, (1 - r.cold.hit_rate) * 16 * record_bytes(), 1);
  EXPECT_EQ(r.warm.hit_rate, 1);
  EXPECT_EQ(r.warm.bytes_missed, 0);
  EXPECT_FALSE(r.warm.disk_roof_share.has_value());
  EXPECT_FALSE(r.ram_roof_once);  // the limit is far above what the model takes
  for (const MoeBenchPhase& phase : {r.cold, r.warm}) {
    EXPECT_EQ(phase.tokens, 40);
    EXPECT_GT(phase.tok_per_s, 0);
    EXPECT_DOUBLE_EQ(phase.bytes_computed, 16 * record_bytes());
    EXPECT_GT(phase.ram_roof_share, 0);
  }
}

TEST_F(MoeBenchTest, TheSamePicksMissTheSame) {
  const auto cold_hits = [&](uint64_t seed) {
    return run_moe_bench(options_, {.n_tokens = 20, .n_repetitions = 1, .seed = seed}).cold.hit_rate;
  };
  const double hits = cold_hits(5);
  EXPECT_EQ(hits, cold_hits(5));
  EXPECT_NE(hits, cold_hits(6));
}

TEST_F(MoeBenchTest, StreamedThroughATooSmallCache) {
  const MoeBenchResult r = run_streamed(2'000'000, {.n_tokens = 50, .n_repetitions = 2});
  EXPECT_FALSE(r.plan.experts_resident);
  EXPECT_LT(r.cache_share, 1);
  // The cache has taken all there is, and the trunk is too small to leave room.
  EXPECT_TRUE(r.ram_roof_once);
  EXPECT_DOUBLE_EQ(r.cold.ram_roof_share, r.cold.compute_gb_per_s / r.roofs.ram_gb_per_s);
  for (const MoeBenchPhase& phase : {r.cold, r.warm}) {
    EXPECT_GT(phase.hit_rate, 0);
    EXPECT_LT(phase.hit_rate, 1);
    const double missed = (1 - phase.hit_rate) * 16 * record_bytes();
    EXPECT_NEAR(phase.bytes_missed, missed * 1.05, missed * 0.05 + 1);  // direct reads are whole sectors
    EXPECT_GT(*phase.disk_roof_share, 0);
    EXPECT_GT(phase.ram_roof_share, 0);
    EXPECT_GT(phase.bound_tok_per_s, 0);
  }
  // A single repetition is held against one pair of roofs.
  const double disk_bound = r.cold.io_gb_per_s / *r.cold.disk_roof_share * 1e9 / r.cold.bytes_missed;
  const double ram_bound = r.cold.compute_gb_per_s / r.cold.ram_roof_share * 1e9 / r.cold.bytes_computed;
  EXPECT_NEAR(r.cold.bound_tok_per_s, std::min(disk_bound, ram_bound), 1e-9 * r.cold.bound_tok_per_s);
}

TEST_F(MoeBenchTest, SomeLayersAndOtherNumbersOfPicks) {
  const MoeBenchResult r =
      run_moe_bench(options_, {.layers = {3, 1, 3}, .n_used = 7, .n_tokens = 10, .n_repetitions = 1});
  EXPECT_EQ(r.n_layers, 2);
  EXPECT_EQ(r.n_used, 7);
  EXPECT_DOUBLE_EQ(r.warm.bytes_computed, 14 * record_bytes());
}

TEST_F(MoeBenchTest, ReadsThatThePageCacheHadAreTold) {
  options_.io = IoChoice::buffered;
  const MoeBenchResult r = run_streamed(1'000'000, {.n_tokens = 60, .n_repetitions = 2});
  if (!r.warm.page_cache_share) GTEST_SKIP() << "the system does not tell";
  EXPECT_GT(*r.warm.page_cache_share, 0.9);  // the whole model was read when it was cold
}

TEST_F(MoeBenchTest, WhatCannotBeIsRefused) {
  const auto refused = [&](const MoeBenchOptions& bench, std::string_view part) {
    expect_error([&] { run_moe_bench(options_, bench); }, Fault::usage, {part});
  };
  refused({.layers = {4}}, "no layer 4");
  refused({.n_used = 65}, "--k 65");
  refused({.n_tokens = 0}, "one token");
  refused({.n_repetitions = 0}, "one repetition");
}

}  // namespace
}  // namespace flashmoe
