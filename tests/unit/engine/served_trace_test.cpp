// The trace of a service: rows of several answers in one batch, each knowing its sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "experts/trace_reader.h"
#include "flashmoe/engine.h"
#include "flashmoe/service.h"
#include "flashmoe/trace.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

constexpr int kAnswers = 3, kPrompt = 70, kTokens = 30;

ServiceOptions side_by_side(int n) {
  ServiceOptions options;
  options.n_parallel = n;
  return options;
}

class ServedTrace : public testing::Test {
 protected:
  ServedTrace() {
    TinyModelOptions tiny;
    tiny.with_tokenizer = true;
    tiny.n_experts = 64;
    tiny.n_experts_used = 4;
    options_.model_path = write_tiny_model(dir_.path(), tiny);
    options_.n_threads = 2;
    options_.ram_bytes = uint64_t{2} << 30;  // with a sanitizer the program alone has half a gigabyte
    options_.context_tokens = 256;
    options_.experts = ExpertsChoice::streamed;
    options_.learn = false;
    options_.trace.path = dir_ / "served.trace";
  }

  // Several answers at once; what they took is returned.
  std::vector<Usage> serve() {
    const auto service = Service::start(Engine::open(options_), side_by_side(kAnswers));
    std::vector<std::unique_ptr<Answer>> answers;
    for (int a = 0; a < kAnswers; ++a) {
      Request request;
      for (int i = 0; i < kPrompt; ++i) request.ids.push_back((i * 7 + a * 31) % 250 + 1);
      request.generate.max_tokens = kTokens;
      answers.push_back(service->submit(request));
    }
    std::vector<Usage> usages;
    for (const auto& answer : answers) {
      while (const auto event = answer->next(std::chrono::milliseconds(60'000))) {
        if (event->kind == AnswerEvent::Kind::done) usages.push_back(event->usage);
      }
    }
    stats_ = stats_at_rest(*service);
    service->stop();
    return usages;
  }

  // A service reads answers as history while nobody waits: its stats once that is over.
  static Stats stats_at_rest(const Service& service) {
    Stats before, now = service.stats().engine;
    do {
      before = now;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      now = service.stats().engine;
    } while (now.cache.hits + now.cache.misses != before.cache.hits + before.cache.misses);
    return now;
  }

  // Picks of the trace that were on their way for being read while there was nothing else to do.
  uint64_t n_on_their_way() const {
    uint64_t n = 0;
    const auto trace = open_trace(options_.trace.path);
    for (TraceStep step; trace->next(step);) {
      for (const TraceLayer& layer : step.layers) {
        n += static_cast<uint64_t>(std::count(layer.outcomes.begin(), layer.outcomes.end(), Outcome::on_its_way));
      }
    }
    return n;
  }

  TempDir dir_;
  EngineOptions options_;
  Stats stats_;
};

TEST_F(ServedTrace, RowsKnowTheirSequence) {
  const std::vector<Usage> usages = serve();
  ASSERT_EQ(usages.size(), static_cast<size_t>(kAnswers));
  const auto trace = open_trace(options_.trace.path);
  std::map<uint64_t, int64_t> rows;
  int n_together = 0;
  for (TraceStep step; trace->next(step);) {
    int n_rows = 0;
    bool all_single = true;
    for (const TraceRun& run : step.runs) {
      rows[run.sequence] += run.n_rows;
      n_rows += run.n_rows;
      all_single = all_single && run.n_rows == 1;
    }
    EXPECT_EQ(n_rows, step.n_rows);
    EXPECT_EQ(all_single, step.decode);
    n_together += step.decode && step.n_rows > 1 ? 1 : 0;
  }
  ASSERT_EQ(rows.size(), static_cast<size_t>(kAnswers));
  EXPECT_GT(n_together, 5);
  // The last token of an answer is not fed again. Answers may end early, so they are compared in order of length.
  std::multiset<int64_t> expected, got;
  for (const Usage& usage : usages) expected.insert(usage.prompt_tokens + usage.answer_tokens - 1);
  for (const auto& [sequence, n] : rows) got.insert(n);
  for (auto e = expected.begin(), g = got.begin(); e != expected.end(); ++e, ++g) EXPECT_LE(std::abs(*g - *e), 1);
}

TEST_F(ServedTrace, IsReadLikeAnyOther) {
  serve();
  const TraceAnalysis a = analyse_trace({.path = options_.trace.path});
  EXPECT_EQ(a.summary.n_sequences, static_cast<uint64_t>(kAnswers));
  EXPECT_TRUE(a.predictors.front().known);  // temporal
  EXPECT_GT(a.predictors.front().caught, 0);
  const WhatIf setting;
  const WhatIfResult again = simulate_trace({.path = options_.trace.path}, {&setting, 1}).front();
  const uint64_t n_picks = stats_.cache.hits + stats_.cache.misses;
  EXPECT_EQ(again.all.hits + again.all.misses, n_picks);
  // A replay has no clock: what was on its way is there.
  const uint64_t found = stats_.cache.hits + n_on_their_way();
  EXPECT_NEAR(again.all.hit_rate(), static_cast<double>(found) / static_cast<double>(n_picks), 0.002);
}

TEST_F(ServedTrace, AFullDiskEndsTheRecordingOnly) {
  options_.trace.path = "/dev/full";
  const auto service = Service::start(Engine::open(options_), side_by_side(1));
  Request request;
  request.ids.assign(kPrompt, 5);
  request.generate.max_tokens = 3;
  const auto answer = service->submit(request);
  while (answer->next(std::chrono::milliseconds(60'000))) {
  }
  EXPECT_TRUE(answer->finished());
  expect_error([&] { service->stop(); }, Fault::io, {"/dev/full"});
}

}  // namespace
}  // namespace flashmoe
