// What a run's router picked, as a file tells it (docs/formats.md): the record of a step, and the text of its header.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "experts/slot_layout.h"
#include "experts/source.h"
#include "flashmoe/stats.h"

namespace flashmoe {

// How the bytes of a step are laid out; a version is never changed, only followed. The first one knew no sequences and
// no unasked reads, the first two no slots out of use, the first three not when guesses were read: their headers lack
// the flags, and their steps the parts.
inline constexpr std::array<std::string_view, 4> kTraceMagics = {"fmtrc001", "fmtrc002", "fmtrc003", "fmtrc004"};
inline constexpr std::string_view kTraceMagic = kTraceMagics.back();  // that is written
inline constexpr std::string_view kTraceEndMagic = "fmtrcend";

// Of what the run was. What a trace imported from text does not know stays empty or 0.
struct TraceHeader {
  std::string model;    // the checkpoint's first file
  std::string version;  // of the program
  int n_layers = 0, n_experts = 0, n_used = 0;
  bool has_outcomes = false;    // steps tell hits and misses,
  bool has_times = false;       // how long stages took,
  bool has_weights = false;     // the picks' weights,
  bool has_guesses = false;     // what the next layer was guessed to pick,
  bool has_scores = false;      // every expert's score,
  bool has_sequences = false;   // whose the rows are,
  bool has_unasked = false;     // what was read before it was picked,
  bool has_given_back = false;  // how many slots were out of use,
  bool has_beside = false;      // and what of it was read beside a layer's experts
  // The cache as it was, by records of one size; without slots when it is not known.
  std::vector<SlotClass> classes;
  std::string format;            // that most of the experts' bytes are in
  double values_per_expert = 0;  // weights, on average
  uint64_t trunk_bytes_per_token = 0;
  uint64_t cache_bytes = 0;  // of the slots
  uint64_t ram_bytes = 0;    // the plan's limit
  int n_threads = 0;
  std::string kernels, cpu, io_mode;
  std::vector<float> rates;  // [n_layers, n_experts] what the cache expected at the start; empty: nothing

  uint64_t expert_bytes() const;  // the mean slot
  bool holds_all() const;         // a slot for every expert
};
// The header as JSON, without rates; and back. Throws Error{input} naming `path` for anything out of range.
std::string header_json(const TraceHeader& header);
TraceHeader parse_header(std::string_view json, const std::string& path);

// The stages that a layer has, in their order.
inline constexpr int kLayerStages = 6;
inline constexpr std::array<Stage, kLayerStages> kStagesOfLayer = {Stage::norm_mix, Stage::mix,   Stage::norm_route,
                                                                   Stage::route,    Stage::fetch, Stage::experts};
inline constexpr size_t kFetchStage = 4, kExpertsStage = 5;

struct TraceLayer {
  std::vector<int32_t> experts;   // [n_rows, n_used], best first
  std::vector<float> weights;     // [n_rows, n_used]
  std::vector<int32_t> distinct;  // the picked experts in ascending order,
  std::vector<int32_t> n_picks;   // [distinct] by how many rows,
  std::vector<Outcome> outcomes;  // [distinct] and how they were found
  std::vector<int32_t> guesses;   // what the next layer would pick, likeliest first
  uint64_t n_guessed = 0;         // experts of the next layer that were read on a guess,
  uint64_t n_guessed_beside = 0;  // those begun while this layer's experts could not be evicted; all if not known
  uint64_t n_warmed_up = 0;       // experts of UnaskedReads::warm_up that were passed since the layer before
  std::vector<uint8_t> scores;    // [n_rows, n_experts] eighths below the best logit; 255: that or more
  std::array<uint64_t, kLayerStages> stage_ns{};

  // distinct and n_picks from experts. `count` [n_experts] is all 0, and stays so.
  void group(std::vector<int32_t>& count);
  int n_missed() const;      // whatever was not a hit
  int n_waited_for() const;  // of them, those that no guess had begun to read
};

// Neighbouring rows of one sequence.
struct TraceRun {
  uint64_t sequence = 0;  // counted from 0 in the order of their first rows; one that was interrupted is another one
  int n_rows = 0;
};

// A pass of a batch through all layers.
struct TraceStep {
  bool decode = false;  // every row belongs to another sequence
  int n_rows = 0;
  std::vector<TraceRun> runs = {};       // of all rows, in their order
  std::vector<int32_t> given_back = {};  // [classes] slots out of use during the step; empty: none
  uint64_t start_ns = 0;                 // since the trace began
  uint64_t busy_ns = 0;                  // from there to the end of its last stage
  uint64_t embed_ns = 0, logits_ns = 0;
  std::vector<TraceLayer> layers = {};  // [n_layers]

  uint64_t fetch_ns() const;
};

// Written last: how it ended.
struct TraceEnd {
  uint64_t n_steps = 0, n_rows = 0, n_decoded = 0;  // n_decoded: rows of decode steps
  bool full = false;                                // the size limit was reached, and later steps are missing
  CacheStats cache;                                 // of the whole run
  uint64_t bytes_read = 0, warm_up_bytes = 0, wasted_bytes = 0, read_busy_ns = 0, read_wait_ns = 0;
  double read_gb_per_s() const {
    return read_busy_ns == 0 ? 0 : double(bytes_read + warm_up_bytes + wasted_bytes) / double(read_busy_ns);
  }
};

// FNV-1a, folded to 32 bits: finds damage, not malice.
uint32_t trace_checksum(std::string_view bytes);

}  // namespace flashmoe
