#include "flashmoe/bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "engine/engine_parts.h"
#include "engine/model_report.h"
#include "engine/spread.h"
#include "flashmoe/session.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

TEST(BenchArithmetic, MedianAndSpread) {
  EXPECT_EQ(spread_of({}).median, 0);
  EXPECT_EQ(spread_of({7}).median, 7);
  EXPECT_EQ(spread_of({7}).spread, 0);
  const Spread odd = spread_of({12, 8, 10});
  EXPECT_EQ(odd.median, 10);
  EXPECT_DOUBLE_EQ(odd.spread, 0.4);
  const Spread even = spread_of({1, 4, 2, 3});
  EXPECT_EQ(even.median, 2.5);
  EXPECT_DOUBLE_EQ(even.spread, 1.2);
}

TEST(BenchArithmetic, BytesThatATokenTouches) {
  ModelReport model;
  model.trunk_bytes_per_token = 1000;
  model.expert_bytes_per_token = 500;
  model.kv_bytes_per_token = 99;  // of a cache in f16, which need not be that of the run
  model.state_bytes = 7;
  MemoryPlan plan;
  plan.kv_bytes_per_token = 10;
  EXPECT_EQ(decode_bytes_per_token(model, plan, 0), 1000u + 500 + 2 * 7);
  EXPECT_EQ(decode_bytes_per_token(model, plan, 20.5), 1000u + 500 + 205 + 2 * 7);
}

class BenchTest : public testing::Test {
 protected:
  BenchTest() {
    options_.model_path = write_tiny_model(dir_.path(), {});  // no tokenizer
    options_.n_threads = 2;
    options_.ram_bytes = 1 << 30;
  }
  // The least --ram that is taken, to 8 KiB.
  uint64_t floor_bytes() {
    uint64_t too_little = 1 << 20, enough = options_.ram_bytes;
    while (enough - too_little > 8 << 10) {
      options_.ram_bytes = too_little + (enough - too_little) / 2;
      try {
        Engine::open(options_)->plan();
        enough = options_.ram_bytes;
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::memory_floor);
        too_little = options_.ram_bytes;
      }
    }
    return enough;
  }
  BenchResult bench() { return run_bench(options_, {.prompt_tokens = 70, .gen_tokens = 9, .n_repetitions = 2}); }

  TempDir dir_, larger_;
  EngineOptions options_;
};

TEST_F(BenchTest, EverythingInMemory) {
  const BenchResult r = bench();
  EXPECT_EQ(r.prefill.tokens, 70);
  EXPECT_EQ(r.decode.tokens, 9);
  for (const BenchPhase& phase : {r.prefill, r.decode}) {
    EXPECT_GT(phase.tok_per_s, 0);
    EXPECT_GT(phase.warm_up, 0);
    EXPECT_EQ(phase.hit_rate, 1);
    EXPECT_EQ(phase.bytes_missed, 0);
  }
  EXPECT_TRUE(r.plan.experts_resident);
  EXPECT_EQ(r.roofs.disk_gb_per_s, 0);
  EXPECT_FALSE(r.disk_roof_share.has_value());
  EXPECT_GT(r.roofs.ram_gb_per_s, 0);
  EXPECT_GT(r.roofs.int8_tops, 0);
  EXPECT_EQ(r.bytes_per_token, decode_bytes_per_token(r.model, r.plan, 75));
  // Medians of two repetitions each: their product is near that of the medians.
  EXPECT_NEAR(r.ram_roof_share,
              r.decode.tok_per_s * static_cast<double>(r.bytes_per_token) / (r.roofs.ram_gb_per_s * 1e9),
              r.ram_roof_share / 2);
  EXPECT_GT(r.first_token_s, 0);
  EXPECT_EQ(r.stats.n_threads, 2);
}

TEST_F(BenchTest, StreamedWithTooSmallACache) {
  options_.experts = ExpertsChoice::streamed;
  options_.context_tokens = 128;
  // The program itself grows meanwhile, with a sanitizer by megabytes: these experts are more than that.
  options_.model_path = write_tiny_model(larger_.path(), {.n_experts = 64, .d_ff = 512});
  BenchResult r;
  for (uint64_t margin = 1 << 20;; margin *= 2) {
    options_.ram_bytes = floor_bytes() + margin;
    try {
      r = bench();
      break;
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::memory_floor);
    }
  }
  ASSERT_FALSE(r.plan.experts_resident);
  EXPECT_LT(r.decode.hit_rate, 1);
  EXPECT_GT(r.decode.bytes_missed, 0);
  EXPECT_GT(r.roofs.disk_gb_per_s, 0);
  ASSERT_TRUE(r.disk_roof_share.has_value());
  EXPECT_NEAR(*r.disk_roof_share, r.decode.tok_per_s * r.decode.bytes_missed / (r.roofs.disk_gb_per_s * 1e9),
              *r.disk_roof_share / 2);
}

TEST_F(BenchTest, PiecesOfAnAnswerAreToldOfAsOne) {
  std::vector<uint64_t> done;
  options_.on_progress = [&](const Progress& step) {
    if (std::string_view(step.what) != "decoding") return;
    EXPECT_EQ(step.total, 9u);
    EXPECT_GT(step.seconds, 0);
    done.push_back(step.done);
  };
  bench();
  ASSERT_EQ(done.size(), 27u);  // the warm-up and two repetitions
  for (size_t i = 0; i < done.size(); ++i) EXPECT_EQ(done[i], i % 9 + 1);
}

TEST_F(BenchTest, RefusesWhatCannotBeMeasured) {
  expect_error([&] { run_bench(options_, {.prompt_tokens = 0}); }, Fault::usage, {"at least one token"});
  options_.context_tokens = 72;
  expect_error([&] { bench(); }, Fault::usage, {"70", "9", "72", "--ctx"});
  options_.context_tokens = 40;
  expect_error([&] { bench(); }, Fault::usage, {"70", "40"});
}

TEST_F(BenchTest, AnInterruptionEndsIt) {
  int left = 60;
  options_.keep_going = [&] { return --left > 0; };
  expect_error([&] { bench(); }, Fault::interrupted, {"interrupted"});
}

TEST_F(BenchTest, BesideALoadedModelTheMachineIsMeasuredWithoutMemoryOfItsOwn) {
  const auto engine = open_parted(options_);
  const MemoryPlan plan = engine->plan(10, 10);
  const RoofsWanted wanted{.disk_seconds = 0.1};
  EXPECT_GT(engine->measure_roofs(wanted).ram_gb_per_s, 0);
  EXPECT_EQ(engine->sample_ram(), 0);
  engine->load(10, 10);
  EXPECT_EQ(engine->memory_plan().experts_resident, plan.experts_resident);
  const Roofs beside = engine->measure_roofs(wanted);
  EXPECT_EQ(beside.ram_gb_per_s, 0);
  EXPECT_EQ(engine->sample_ram(), 0);  // this trunk fits into a cache of the processor
  EXPECT_GT(beside.disk_gb_per_s, 0);
  EXPECT_GT(beside.int8_tops, 0);
}

// The ids of decode are those that logits make likeliest, and both leave the same sequence behind.
TEST_F(BenchTest, DecodeTakesTheLikeliest) {
  const auto engine = Engine::open(options_);
  engine->load(10, 10);
  const std::vector<int32_t> prompt = {5, 6, 7};
  std::vector<int32_t> expected, got;
  {
    const auto session = engine->new_session();
    int32_t next = 0;
    const auto keep = [&](int64_t, std::span<const float> row) {
      next = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    };
    session->logits(prompt, keep);
    for (int i = 0; i < 6; ++i) {
      expected.push_back(next);
      session->logits({&expected.back(), 1}, keep);
    }
  }
  const auto session = engine->new_session();
  expect_error([&] { session->decode(1); }, Fault::usage, {"prompt"});
  session->prefill(prompt);
  got = session->decode(4);
  const auto rest = session->decode(2);
  got.insert(got.end(), rest.begin(), rest.end());
  EXPECT_EQ(got, expected);
  EXPECT_EQ(session->n_tokens(), 9);
  EXPECT_EQ(session->stats().decode.timed_tokens, 6u);
  EXPECT_TRUE(session->decode(0).empty());
  expect_error([&] { session->decode(1 << 20); }, Fault::input, {"--ctx"});
}

}  // namespace
}  // namespace flashmoe
