// The routed experts alone, without attention: how fast they are fetched and computed here, as a share of what the disk
// and the memory can do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flashmoe/engine.h"
#include "flashmoe/options.h"
#include "flashmoe/roofs.h"

namespace flashmoe {

struct MoeBenchOptions {
  std::vector<int> layers = {};  // to go through, in ascending order; empty: all
  int n_used = 0;                // picks of a token in each layer; 0: as many as the model's
  int64_t n_tokens = 32;         // of a repetition
  int n_repetitions = 3;         // warm ones, after the cold one
  uint64_t seed = 1;             // of the picks: the same seed, the same picks
  std::string trace_path = {};   // picks of its decoded tokens; empty: drawn, every expert as likely as any other
};

// One state of the cache of experts: empty at the start, or as the repetitions before left it.
struct MoeBenchPhase {
  int64_t tokens = 0;    // of a repetition
  double tok_per_s = 0;  // through the chosen layers; the median
  double spread = 0;     // (fastest - slowest) / median
  double hit_rate = 0;
  double bytes_missed = 0;      // read for each token
  double bytes_computed = 0;    // of weights, for each token
  double disk_wait_s = 0;       // for each token, that the computing stood still for reads
  double io_gb_per_s = 0;       // while reads were under way; 0: nothing was read
  double compute_gb_per_s = 0;  // weights, while experts were computed
  // Medians over repetitions, each held against the disk around it and RAM during it.
  std::optional<double> disk_roof_share;  // of io_gb_per_s; none where nothing was read
  double ram_roof_share = 0;              // of compute_gb_per_s
  double bound_tok_per_s = 0;  // at the whole of the disk's roof for what was missed, or of the memory's for what was
                               // computed: the lower one
  // Of the bytes read, those that the page cache had: such reads tell nothing about the disk. None: the system does not
  // tell, or nothing was read.
  std::optional<double> page_cache_share;
};

struct MoeBenchResult {
  MoeBenchPhase cold, warm;
  Roofs roofs;                 // medians over repetitions; int8 is not measured
  bool ram_roof_once = false;  // RAM was measured before the repetitions only: beside them there was no room
  ModelReport model;
  MemoryPlan plan;               // of a run: the trunk has its place, but is not loaded
  int n_layers = 0, n_used = 0;  // gone through, and picked
  double cache_share = 0;        // of the experts of these layers that the cache can hold, at most 1
  std::string picks;             // where they came from
  uint64_t trace_rounds = 0;     // how often the trace began anew because it was too short; experts come again then
  std::string kernels, io_mode;
  int n_threads = 0;
  bool exact = false;
};

// Measures the roofs, opens the experts within the memory plan of a run, goes 1 + n_repetitions times through n_tokens
// tokens, and measures the disk after each and RAM meanwhile, where the plan leaves room for it, the trunk's place
// included.
// Nothing else may be loaded. Throws Error: usage (a layer or a number of picks that the model does not have), input
// (the trace is of another model, or has no decoded tokens), and what Engine throws.
MoeBenchResult run_moe_bench(const EngineOptions& options, const MoeBenchOptions& bench);

}  // namespace flashmoe
