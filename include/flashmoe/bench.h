// The speed of a model on this machine, as a share of what the machine can do.
#pragma once

#include <cstdint>
#include <optional>

#include "flashmoe/engine.h"
#include "flashmoe/stats.h"

namespace flashmoe {

struct BenchOptions {
  int64_t prompt_tokens = 512;  // pseudo-random ids, others in each repetition, the same in each run
  int64_t gen_tokens = 64;      // greedy, past any end mark
  int n_repetitions = 3;        // measured ones, after one to warm up
  bool remember = false;        // keep the hit rate in the user's cache folder, for forecasts
};

// One phase over the measured repetitions, in tokens a second.
struct BenchPhase {
  int64_t tokens = 0;
  double tok_per_s = 0;     // the median
  double spread = 0;        // (fastest - slowest) / median
  double warm_up = 0;       // of the first repetition, which starts with an empty cache of experts
  double hit_rate = 0;      // 1 when experts are resident
  double bytes_missed = 0;  // of experts, read for each token
  double disk_wait_s = 0;   // for each token, that the computing stood still for reads
};

struct BenchResult {
  BenchPhase prefill, decode;
  uint64_t bytes_per_token = 0;  // of memory that a decoded token touches, at the mean position
  // Of decode: bytes_per_token * tok/s / RAM roof, and bytes_missed * tok/s / disk roof, none where nothing was missed.
  // Each repetition against the disk's mean just before and just after it and RAM's mean during its decode; the
  // medians of these.
  double ram_roof_share = 0;
  std::optional<double> disk_roof_share;
  Roofs roofs;               // medians of these means; no disk when experts are resident; RAM is that before loading
                             // where the trunk is too small to look at it during decode
  double load_s = 0;         // headers, tokenizer, trunk, resident experts
  double first_token_s = 0;  // median, from the start of prefill
  double first_token_warm_up_s = 0;
  Stats stats;  // of the last repetition: threads, kernels, I/O mode, budget, peak
  ModelReport model;
  MemoryPlan plan;
};

// Loads and runs 1 + n_repetitions sequences, measuring the roofs before the first and after each, and RAM during
// decode. Nothing else may be loaded.
// Throws Error: usage (the context is too small), and whatever Engine and Session throw.
BenchResult run_bench(const EngineOptions& options, const BenchOptions& bench);

}  // namespace flashmoe
