// What a run did, measured.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace flashmoe {

// The way of one token (docs/one-token.md), in its order. norm_mix and norm_route are both printed as "norm".
enum class Stage { tokenise, embed, norm_mix, mix, norm_route, route, fetch, experts, logits };
inline constexpr int kStageCount = 9;
inline constexpr std::array<const char*, kStageCount> kStageNames = {"tokenise", "embed", "norm",    "mix",   "norm",
                                                                     "route",    "fetch", "experts", "logits"};

// Stages 3 to 8 are timed per kind of layer, the others once per model.
enum class LayerKind { delta_net, attention, model };
inline constexpr int kLayerKindCount = 3;
inline constexpr std::array<const char*, kLayerKindCount> kLayerKindNames = {"delta_net", "attention", "model"};

struct StageTimes {
  std::array<std::array<uint64_t, kStageCount>, kLayerKindCount> ns{};  // [layer kind][stage]
};

struct CacheStats {
  uint64_t hits = 0;    // picks whose weights were in memory when asked for
  uint64_t misses = 0;  // picks that had to be read, also if they were read ahead
  // At this moment:
  uint64_t bytes = 0;             // of the cache's slots
  uint64_t lent_bytes = 0;        // of these, planned for other things that do not need them yet
  uint64_t given_back_bytes = 0;  // of the cache, to a system that ran short of memory
  double hit_rate() const { return hits + misses == 0 ? 0.0 : double(hits) / double(hits + misses); }
};

// Experts read before the router asked for them.
struct ReadAheadStats {
  std::string verdict;        // whether it is in use, and why
  uint64_t guessed = 0;       // experts read on a guess
  uint64_t used = 0;          // of these, picked
  uint64_t wasted_bytes = 0;  // of those not picked
};

struct IoStats {
  std::string mode;            // what is really in use, for example "io_uring, direct, depth 32"
  std::string missing_drives;  // that were given up, each with why; empty: none
  uint64_t bytes_read = 0;     // of experts that were picked, from the device or page cache
  uint64_t warm_up_bytes = 0;  // of experts read while nothing was asked for
  uint64_t wait_ns = 0;        // time the token loop stood still for reads
  uint64_t busy_ns = 0;        // time with at least one read in flight
  ReadAheadStats read_ahead;
  // What statistics tell as bytes read.
  uint64_t all_bytes() const { return bytes_read + warm_up_bytes + read_ahead.wasted_bytes; }
  double gb_per_s() const { return busy_ns == 0 ? 0.0 : double(all_bytes()) / double(busy_ns); }
};

struct PhaseStats {
  uint64_t tokens = 0;
  uint64_t timed_tokens = 0;  // that went through the model in `seconds`: the first of an answer came out of the prompt
  double seconds = 0;
  double tok_per_s() const { return seconds > 0 ? double(timed_tokens) / seconds : 0.0; }
};

struct Stats {
  double load_s = 0;
  double ttft_s = 0;  // from the start of prefill to the first token
  PhaseStats prompt;
  PhaseStats decode;
  CacheStats cache;
  IoStats io;
  StageTimes stages;
  uint64_t budget_bytes = 0;
  uint64_t peak_bytes = 0;  // highest resident set of the process
  std::string kernels;      // "avx512", ...
  int n_threads = 0;
  bool exact = false;
};

}  // namespace flashmoe
