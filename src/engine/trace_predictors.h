// Forecasts of what a layer will pick, and what reading ahead by them would bring.
#pragma once

#include <memory>
#include <vector>

#include "engine/last_tokens.h"
#include "engine/trace_pass.h"
#include "experts/trace_replay.h"

namespace flashmoe {

// Sees decoded steps one after the other, layer by layer.
class Predictor {
 public:
  virtual ~Predictor() = default;
  virtual const char* name() const = 0;
  virtual bool known() const { return true; }
  // Once for each step of the first half.
  virtual void learn(const TraceStep& step) { (void)step; }
  // Experts of the layer that the row will pick, the likeliest first, from what is known before it is reached: the
  // step's earlier layers and earlier steps.
  virtual void predict(const TraceStep& step, size_t row, size_t layer, std::vector<int32_t>& experts) = 0;
  // Once for each step, after all its layers.
  virtual void passed(const TraceStep& step) { (void)step; }
};

// The token before picks again; picks of the layer before go with picks of this one; the router's own guess.
std::vector<std::unique_ptr<Predictor>> all_predictors(const TraceHeader& header);

// Read-ahead by one predictor beside a cache: which misses it foresees in time.
class PredictorTrials {
 public:
  // `disk_gb_per_s` 0: only what is caught is told. Predictors have learnt.
  PredictorTrials(const TraceHeader& header, const TraceTiming& timing, const std::vector<SlotClass>& classes,
                  GivenBack given_back, double disk_gb_per_s, std::vector<std::unique_ptr<Predictor>> predictors);

  // Feeds the cache with every step; decoded ones are put to the test when `test`.
  void feed(const TraceStep& step, bool test);
  std::vector<PredictorTrial> results() const;
  double hit_rate() const { return decode_.hit_rate(); }

 private:
  struct Score {
    uint64_t n_picks = 0, n_caught = 0, n_missing = 0, n_missing_caught = 0;
    double wait_s = 0;
  };
  void predict(const TraceStep& step, size_t layer);
  void judge(const TraceStep& step, size_t layer);

  const TraceHeader& header_;
  const TraceTiming& timing_;
  double disk_gb_per_s_;
  size_t n_in_time_ = 0;  // experts that can be read while a layer is computed
  std::unique_ptr<ReplayCache> cache_;
  std::vector<std::unique_ptr<Predictor>> predictors_;
  std::vector<Score> scores_;
  CacheStats decode_;
  double wait_s_ = 0;
  uint64_t n_tested_ = 0;
  ReplayMisses missed_;
  std::vector<int32_t> predicted_;
  std::vector<std::vector<int32_t>>
      absent_;  // [predictors] of those predicted, what the cache lacks, as far as in time
};

}  // namespace flashmoe
