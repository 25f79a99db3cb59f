// A run's own trace: the simulator finds the hits that the engine had, with this cache and with others.
#include "flashmoe/trace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "experts/trace_reader.h"
#include "flashmoe/engine.h"
#include "flashmoe/error.h"
#include "flashmoe/session.h"
#include "support/expect_error.h"
#include "support/made_up_trace.h"
#include "support/recorded_traces.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

constexpr int64_t kPrompt = 130, kAnswer = 60;
constexpr double kPatience = 20;  // seconds
constexpr uint64_t kSpareBytes = 3 << 20;
constexpr int kMostTries = 60;

class TraceTest : public testing::Test {
 protected:
  TraceTest() {
    TinyModelOptions tiny;
    tiny.n_experts = 64;
    tiny.d_ff = 64;
    tiny.n_experts_used = 4;
    options_.model_path = write_tiny_model(dir_.path(), tiny);
    options_.n_threads = 2;
    options_.context_tokens = 256;
    options_.prefill_chunk = 64;
    options_.experts = ExpertsChoice::streamed;
    options_.read_ahead = ReadAheadChoice::off;
    options_.learn = false;
    options_.trace.path = dir_ / "run.trace";
  }

  // With a cache of about so many bytes: three quarters of them to kSpareBytes more. What the plan gives to other
  // things depends on the limit, and what the program itself takes changes with every try, under a sanitizer by
  // megabytes: so the limit is corrected until it fits.
  std::unique_ptr<Engine> load(uint64_t cache_bytes) {
    options_.ram_bytes = 1 << 30;
    const MemoryPlan wide = Engine::open(options_)->plan(kPrompt, kAnswer);
    options_.ram_bytes = wide.budget_bytes() - cache_of(wide) + cache_bytes;
    for (int n_tries = 1;; ++n_tries) {
      try {
        auto engine = Engine::open(options_);
        engine->load(kPrompt, kAnswer);
        const uint64_t given = cache_of(engine->memory_plan());
        if (given >= cache_bytes / 4 * 3 && given <= cache_bytes + kSpareBytes) return engine;
        if (n_tries == kMostTries) fail(Fault::memory_floor, "a cache of {} bytes, not {}", given, cache_bytes);
        options_.ram_bytes += cache_bytes + kSpareBytes / 4 - given;
      } catch (const Error& error) {
        if (error.fault() != Fault::memory_floor || n_tries == kMostTries) throw;
        options_.ram_bytes += kSpareBytes / 4;
      }
    }
  }

  // Runs with a cache of about so many bytes, and returns what the engine counted. `warm`: begins once something was
  // read that nobody asked for.
  Stats run(uint64_t cache_bytes, bool warm = false) {
    const auto engine = load(cache_bytes);
    cache_bytes_ = cache_of(engine->memory_plan());
    const auto session = engine->new_session();
    const uint64_t start_ns = now_ns();
    while (warm && session->stats().io.warm_up_bytes == 0 && seconds_since(start_ns) < kPatience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    std::vector<int32_t> ids;
    for (int i = 0; i < kPrompt; ++i) ids.push_back(i * 7 % 300);
    session->prefill(ids);
    session->decode(kAnswer);
    engine->end_trace();
    return session->stats();
  }
  static uint64_t cache_of(const MemoryPlan& plan) {
    for (const Allotment& allotment : plan.allotments) {
      if (allotment.name == "expert_cache") return allotment.bytes;
    }
    return 0;
  }
  // By the trace's own clock. TellsHowTheRunWent holds it against the engine's.
  double recorded_tok_per_s() { return analyse_trace({.path = options_.trace.path}).summary.tok_per_s; }
  WhatIfResult simulate(const WhatIf& setting) {
    return simulate_trace({.path = options_.trace.path}, {&setting, 1}).front();
  }

  TempDir dir_;
  EngineOptions options_;
  uint64_t cache_bytes_ = 0;  // of the last run
};

TEST_F(TraceTest, TellsTheCacheThatWasInUse) {
  for (const bool lend : {true, false}) {
    options_.lend = lend;
    const auto in_use = static_cast<double>(run(1'000'000).cache.bytes);
    const TraceSummary summary = analyse_trace({.path = options_.trace.path}).summary;
    EXPECT_NEAR(static_cast<double>(summary.cache_bytes), in_use, 0.1 * in_use) << lend;
    EXPECT_DOUBLE_EQ(simulate({}).cache_share, summary.cache_share) << lend;
    const WhatIfResult more = simulate({.more_cache_bytes = 20 * summary.expert_bytes});
    EXPECT_NEAR(more.cache_share - summary.cache_share, 20.0 / (summary.n_layers * summary.n_experts), 0.01) << lend;
    EXPECT_GT(more.all.hits, simulate({}).all.hits) << lend;
  }
}

TEST_F(TraceTest, TheSimulatorHitsWhatTheEngineHit) {
  for (const uint64_t bytes : {1'000'000u, 4'000'000u}) {
    const Stats stats = run(bytes);
    const WhatIfResult again = simulate({});
    EXPECT_EQ(again.all.hits, stats.cache.hits) << bytes;
    EXPECT_EQ(again.all.misses, stats.cache.misses) << bytes;
    ASSERT_GT(stats.cache.misses, 100u);
    EXPECT_GT(again.decode.hits, 0u);
    ASSERT_TRUE(again.tok_per_s.has_value());
    EXPECT_NEAR(*again.tok_per_s, recorded_tok_per_s(), 0.1 * recorded_tok_per_s()) << bytes;
  }
}

// What was read on a guess pushes others out, which the replay does alike. It cannot know how long a drive takes over a
// guess that was wrong, and what has its slot meanwhile cannot be pushed out: so the page cache answers here.
TEST_F(TraceTest, TheSimulatorReadsAheadAsTheEngineDid) {
  options_.read_ahead = ReadAheadChoice::on;
  options_.io = IoChoice::buffered;
  const auto takes_as_long = [&](uint64_t bytes) {
    const Stats stats = run(bytes);
    EXPECT_GT(stats.io.read_ahead.guessed, 100u);
    const WhatIfResult again = simulate({});
    EXPECT_EQ(again.all.hits + again.all.misses, stats.cache.hits + stats.cache.misses) << bytes;
    EXPECT_NEAR(again.all.hit_rate(), stats.cache.hit_rate(), 0.01) << bytes;
    return std::abs(*again.tok_per_s - recorded_tok_per_s()) < 0.1 * recorded_tok_per_s();
  };
  for (const uint64_t bytes : {1'000'000u, 4'000'000u}) {
    int tries = 1;  // others on the machine may lengthen a single wait beyond all the rest
    while (tries < 10 && !takes_as_long(bytes)) ++tries;
    EXPECT_LT(tries, 10) << bytes;
  }
}

// A start that knows what earlier runs used reads it while there is nothing else to do.
TEST_F(TraceTest, TheSimulatorWarmsUpAsTheEngineDid) {
  options_.learn = true;
  run(4'000'000);
  const Stats again = run(4'000'000, true);
  ASSERT_GT(again.io.warm_up_bytes, 0u);
  EXPECT_NEAR(simulate({}).all.hit_rate(), again.cache.hit_rate(), 0.01);
}

TEST_F(TraceTest, TheSimulatorHitsWhatAnotherCacheWouldHit) {
  options_.lend = false;  // of one size all the time
  const Stats small = run(1'000'000);
  const uint64_t small_bytes = cache_bytes_;
  const std::string recorded = options_.trace.path;
  options_.trace.path = dir_ / "other.trace";
  const Stats large = run(small_bytes + 4'000'000);
  ASSERT_GT(cache_bytes_, small_bytes + 1'000'000);
  ASSERT_GT(large.cache.hit_rate(), small.cache.hit_rate() + 0.1);
  options_.trace.path = recorded;
  const WhatIfResult result = simulate({.cache_bytes = cache_bytes_});
  EXPECT_EQ(result.all.hits, large.cache.hits);
  EXPECT_EQ(result.all.misses, large.cache.misses);
}

// A layer without misses waited only because of guesses; where every expert has a place there are none.
TEST_F(TraceTest, WhatIsAllInMemoryIsNotWaitedFor) {
  options_.read_ahead = ReadAheadChoice::on;
  run(1'000'000);
  WhatIf setting;
  setting.cache_share = 1;
  const TraceSummary recorded = analyse_trace({.path = options_.trace.path}).summary;
  const WhatIfResult all = simulate(setting);
  const double n_tokens = static_cast<double>(recorded.n_decoded);
  const double first_s =
      static_cast<double>(all.decode.misses) / n_tokens * (1 / recorded.tok_per_s - recorded.compute_s);
  EXPECT_NEAR(1 / *all.tok_per_s, recorded.compute_s, first_s + 0.1 * recorded.compute_s);
}

TEST_F(TraceTest, TellsHowTheRunWent) {
  options_.trace.guesses = options_.trace.scores = true;
  const Stats stats = run(2'000'000);
  const TraceAnalysis a = analyse_trace({.path = options_.trace.path});
  EXPECT_EQ(a.summary.n_tokens, static_cast<uint64_t>(kPrompt + kAnswer));
  EXPECT_EQ(a.summary.n_decoded, static_cast<uint64_t>(kAnswer));
  ASSERT_TRUE(a.summary.recorded.has_value());
  EXPECT_EQ(a.summary.recorded->hits, stats.cache.hits);
  EXPECT_EQ(a.summary.recorded->misses, stats.cache.misses);
  EXPECT_NEAR(a.summary.tok_per_s, stats.decode.tok_per_s(), 0.2 * stats.decode.tok_per_s());
  for (const PredictorTrial& trial : a.predictors) EXPECT_TRUE(trial.known) << trial.name;
  EXPECT_GT(a.predictors.back().caught, 0.2);  // by chance: a sixteenth

  const auto trace = open_trace(options_.trace.path);
  TraceStep step;
  while (trace->next(step)) {
    for (const TraceLayer& layer : step.layers) {
      ASSERT_EQ(layer.outcomes.size(), layer.distinct.size());
      for (size_t i = 0; i < layer.experts.size(); ++i) {
        const size_t row = i / 4;
        const uint8_t score = layer.scores[row * 64 + static_cast<size_t>(layer.experts[i])];
        ASSERT_EQ(i % 4 == 0 ? score : 0, 0);  // the best one
      }
    }
  }
  const TraceTimeline timeline = draw_trace({.path = options_.trace.path}, 10);
  EXPECT_EQ(timeline.periods.size(), 10u);
  EXPECT_EQ(timeline.latency_ms.size(), static_cast<size_t>(kAnswer));
}

TEST_F(TraceTest, AnswersTheSameWithAndWithout) {
  const auto tokens = [&] {
    options_.ram_bytes = 1 << 30;
    const auto engine = Engine::open(options_);
    const auto session = engine->new_session();
    session->prefill(std::vector<int32_t>{1, 2, 3, 4});
    return session->decode(30);
  };
  options_.trace.guesses = true;
  const auto traced = tokens();
  options_.trace = {};
  EXPECT_EQ(traced, tokens());
}

TEST_F(TraceTest, RefusesSettingsThatCannotBe) {
  const std::string picks = dir_.write("a.jsonl", "{\"layers\": [[1, 2], [3, 4]]}\n{\"layers\": [[1, 3], [3, 4]]}\n");
  const auto refused = [](const std::string& path, const WhatIf& setting, std::string_view part) {
    expect_error([&] { simulate_trace({.path = path}, {&setting, 1}); }, Fault::usage, {part});
  };
  refused(picks, {}, "--cache");
  refused(picks, {.cache_bytes = 1 << 20}, "--expert-size");
  refused(picks, {.cache_share = 0.01}, "--cache");
  refused(picks, {.cache_share = 0.5, .format = "q4_k"}, "--expert-size");
  const std::string whole = made_up_trace(dir_ / "whole.trace", 20);
  refused(whole, {.format = "q9_z"}, "q4_k");
}

TEST_F(TraceTest, TellsWhatNeedNotBeAdded) {
  const std::string picks = dir_.write("a.jsonl", "{\"layers\": [[1, 2], [3, 4]]}\n{\"layers\": [[1, 3], [3, 4]]}\n");
  const TraceAnalysis asked = analyse_trace({.path = picks, .expert_bytes = 1 << 20, .compute_s = 0.5}, 0.5);
  EXPECT_EQ(asked.summary.expert_bytes, uint64_t{1} << 20);
  EXPECT_DOUBLE_EQ(asked.summary.compute_s, 0.5);
  const std::string whole = made_up_trace(dir_ / "whole.trace", 20);
  EXPECT_FALSE(trace_tells({.path = picks}).expert_bytes);
  EXPECT_FALSE(trace_tells({.path = picks}).compute);
  EXPECT_TRUE(trace_tells({.path = whole}).expert_bytes);
  EXPECT_TRUE(trace_tells({.path = whole}).compute);
}

TEST_F(TraceTest, SmallerExpertsMakeRoomAndReadLess) {
  const std::string path = made_up_trace(dir_ / "whole.trace", 200);
  const WhatIf settings[] = {{}, {.format = "iq2_xxs"}, {.disk_gb_per_s = 20}, {.ram_speed = 2}};
  const auto results = simulate_trace({.path = path}, settings);
  EXPECT_GT(results[1].cache_share, results[0].cache_share);
  EXPECT_GT(results[1].decode.hits, results[0].decode.hits);
  EXPECT_LT(results[1].bytes_missed_per_token, results[0].bytes_missed_per_token);
  for (int i = 1; i < 4; ++i) EXPECT_GT(*results[static_cast<size_t>(i)].tok_per_s, *results[0].tok_per_s) << i;
}

TEST_F(TraceTest, CanBeInterrupted) {
  const std::string path = made_up_trace(dir_ / "whole.trace", 200);
  expect_error([&] { analyse_trace({.path = path, .keep_going = [] { return false; }}); }, Fault::interrupted,
               {"interrupted"});
}

struct Figures {
  const char* file;
  double reuse;                            // next token's share of a layer's experts, %
  std::array<double, 5> lru, lfu, belady;  // hit rates with 5, 10, 20, 30, 50 % of the experts
};

class TracesOfRealModels : public testing::TestWithParam<Figures> {};

// Published figures of other simulators; lfu to a tenth, where equals are ordered differently.
TEST_P(TracesOfRealModels, GiveTheKnownFigures) {
  const Figures& f = GetParam();
  const auto path = trace_path(f.file);
  if (!path) GTEST_SKIP() << f.file << " is absent";
  std::vector<WhatIf> settings;
  for (const CachePolicy policy : {CachePolicy::lru, CachePolicy::lfu, CachePolicy::belady}) {
    for (const double share : {0.05, 0.1, 0.2, 0.3, 0.5}) settings.push_back({.cache_share = share, .policy = policy});
  }
  const auto results = simulate_trace({.path = *path}, settings);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(100 * results[i].decode.hit_rate(), f.lru[i], 0.051) << "lru " << i;
    EXPECT_NEAR(100 * results[5 + i].decode.hit_rate(), f.lfu[i], 0.11) << "lfu " << i;
    EXPECT_NEAR(100 * results[10 + i].decode.hit_rate(), f.belady[i], 0.051) << "belady " << i;
  }
  EXPECT_NEAR(100 * analyse_trace({.path = *path}).all.next_token, f.reuse, 0.51);
}

INSTANTIATE_TEST_SUITE_P(Traces, TracesOfRealModels,
                         testing::Values(Figures{"kimi_linear_300.jsonl",
                                                 34,
                                                 {35.3, 54.2, 66.9, 76.7, 87.1},
                                                 {40.2, 53.9, 68.8, 77.2, 87.1},
                                                 {60.4, 71.7, 82.2, 87.2, 91.2}},
                                         Figures{"olmoe_299.jsonl",
                                                 44,
                                                 {0, 0, 47.9, 62.5, 78.4},
                                                 {21.3, 33.9, 50.6, 63.3, 81.3},
                                                 {34.6, 54.1, 71.5, 80.8, 91.3}}));

}  // namespace
}  // namespace flashmoe
