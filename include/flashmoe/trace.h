// What a routing trace tells: how experts are used, what a cache and a predictor make of it, what other hardware would.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flashmoe/options.h"
#include "flashmoe/stats.h"

namespace flashmoe {

// two_timescale is the engine's own: how often and how recently. lfu: uses counted with a weight that halves every 8
// tokens. belady knows the future, which is the bound for all others.
enum class CachePolicy { two_timescale, lru, lfu, belady };
inline constexpr std::array<const char*, 4> kCachePolicyNames = {"two-timescale", "lru", "lfu", "belady"};

// What a reader of a trace may add, and is called back on.
struct TraceQuestion {
  std::string path;
  // For traces that do not tell (lists of picks), or to ask about another model's; 0: as the trace says.
  uint64_t expert_bytes = 0;
  double compute_s = 0;     // for each decoded token, without waiting for reads
  bool unfinished = false;  // a trace without its end is read as far as it is whole
  std::function<void(const Progress&)> on_progress = {};
  std::function<bool()> keep_going = {};  // false ends it with Error{interrupted}
};

struct TraceSummary {
  std::string path, model, version, format, cpu, kernels, io_mode;
  int n_layers = 0, n_experts = 0, n_used = 0, n_threads = 0;
  uint64_t n_tokens = 0, n_decoded = 0;     // tokens: rows of all steps
  uint64_t n_sequences = 0;                 // that the rows belong to
  bool full = false;                        // the size limit was reached before the run ended
  uint64_t expert_bytes = 0;                // of one slot; 0: not known
  uint64_t cache_bytes = 0, ram_bytes = 0;  // 0: not known
  double cache_share = 0;                   // of all experts; both as they were on average
  double least_cache_share = 0;             // that one layer of a token needs
  std::optional<CacheStats> recorded;       // hits and misses of the steps in the trace
  std::optional<CacheStats> recorded_decode;
  double disk_gb_per_s = 0;  // while reads were under way; 0: nothing was read
  double tok_per_s = 0;      // of decode; 0: no times
  double compute_s = 0;      // of a decoded token, all but waiting for reads; 0: not known
};

// How the picks of one layer, or of all, are spread.
struct LayerUse {
  double distinct = 0;          // experts picked at least once
  double gini = 0;              // 0: all equally often; near 1: a few take all
  std::array<double, 3> top{};  // share of picks that the busiest 10, 20 and 30 % of the experts take
  double reuse_p50 = 0;         // tokens since the same expert was picked last: half of the picks come sooner,
  double reuse_p90 = 0;         // nine of ten
  double next_token = 0;        // share of picks that the next token picks again
  // Share of picks whose number the next layer picks too; the last layer has no next one.
  std::optional<double> next_layer;
};

// Read-ahead by a forecast of a layer's picks, learnt on the first half of the decoded tokens, tried on the second.
struct PredictorTrial {
  const char* name = "";
  bool known = false;            // false: the trace does not have what it needs
  double caught = 0;             // share of picks that it names
  double caught_missing = 0;     // of those that are not in the cache
  std::optional<double> faster;  // decoding speed with it, as a multiple of that without
};

struct TraceAnalysis {
  TraceSummary summary;
  LayerUse all;                  // means over layers
  std::vector<LayerUse> layers;  // [n_layers]
  std::vector<float> rates;      // [n_layers, n_experts] picks for a token
  std::vector<PredictorTrial> predictors;
  double cache_share = 0;    // that the predictors were tried with
  double hit_rate = 0;       // of decode, simulated with it
  double disk_gb_per_s = 0;  // 0: not known, and so is `faster`
};

// Whether a trace itself tells what a question can add. Throws Error: io, input (no trace, or a damaged one),
// unsupported (of a newer version), interrupted; and so do the functions below.
struct TraceTells {
  bool expert_bytes = false, compute = false;
};
TraceTells trace_tells(const TraceQuestion& question);

// `cache_share` and `disk_gb_per_s` below 0 are those of the recorded run; without one, a fifth of the experts. Throws
// also Error{usage} for a cache that cannot be.
TraceAnalysis analyse_trace(const TraceQuestion& question, double cache_share = -1, double disk_gb_per_s = -1);

// A setting that was not recorded.
struct WhatIf {
  // Of the cache, the first that is set: bytes, a share of all experts, bytes more than recorded; none: as recorded.
  uint64_t cache_bytes = 0;
  double cache_share = 0;
  uint64_t more_cache_bytes = 0;
  double disk_gb_per_s = 0;  // 0: as recorded
  double ram_speed = 1;      // multiple of the recorded machine's
  std::string format = {};   // of the experts, "Q4_K"; empty: as recorded
  CachePolicy policy = CachePolicy::two_timescale;
};

struct WhatIfResult {
  uint64_t cache_bytes = 0;  // 0: not known
  double cache_share = 0;
  double disk_gb_per_s = 0;           // 0: not known
  CacheStats all, decode;             // of the whole trace; of its decoded tokens
  double bytes_missed_per_token = 0;  // of decode; 0 when sizes are not known
  std::optional<double> tok_per_s;    // of decode
};

// Replays the trace with each setting, all in one pass. Throws also Error{usage} for settings that cannot be.
std::vector<WhatIfResult> simulate_trace(const TraceQuestion& question, std::span<const WhatIf> settings);

// What is needed to draw a run.
struct TracePeriod {
  uint64_t n_tokens = 0;  // decoded
  double hit_rate = 0;
  double bytes_per_token = 0;  // missed
  double gb_per_s = 0;         // missed bytes over all of the time
};
struct TraceTimeline {
  std::vector<TracePeriod> periods;                   // equal numbers of decoded tokens, at most n_periods
  std::array<double, kStageCount> decode_stage_s{};   // of a decoded token, by stage
  std::array<double, kStageCount> prefill_stage_s{};  // of a prompt's token
  std::vector<double> latency_ms;                     // of each decoded token, sorted
};
TraceTimeline draw_trace(const TraceQuestion& question, int n_periods);

}  // namespace flashmoe
