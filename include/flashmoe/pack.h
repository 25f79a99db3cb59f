// A checkpoint turned into a packed folder: one record for each expert, one read each, in the formats that are asked
// for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "flashmoe/options.h"

namespace flashmoe {

struct PackOptions {
  std::string source;       // anything Engine::open takes
  std::string destination;  // a folder that is new, empty, or has what was begun with the same options
  std::string experts;      // "keep" or a format: "q4_k", "affine4", ...; empty: what the recipe says, else keep
  std::string trunk;        // the same
  std::string draft_head;   // the same; of a head that predicts more than one token
  std::string recipe;       // "4bit", "3bit", "2bit" or a JSON file with formats by role and layer; empty: none
  std::string imatrix;      // a file of flashmoe calibrate: what columns matter when scales are searched; empty: none
  std::string scale_type;   // of affine formats: "f16" or "bf16"; empty: f16
  bool allow_nonfinite = false;
  // Each file of the source is deleted when all that is in it has been packed, read again and compared. Files with
  // tensors that are left out stay, and so does everything that is no weights.
  bool delete_source = false;
  uint64_t ram_bytes = 0;  // most memory for what is on its way; 0: 512 MiB
  int n_threads = 0;       // 0: the CPUs this process may use
  // Both are called on the caller's thread and may be empty; a false ends with Error{interrupted}.
  std::function<void(const Progress&)> on_progress;
  std::function<bool()> keep_going;
};

// What packing will do.
struct PackPlan {
  struct Line {
    std::string what;  // "experts, gate"
    std::string from, to;
    uint64_t source_bytes = 0, bytes = 0;
  };
  std::vector<Line> lines;
  uint64_t source_bytes = 0, packed_bytes = 0;
  uint64_t n_experts = 0, expert_bytes = 0;   // of all layers, as packed
  uint64_t bytes_per_expert = 0;              // largest record
  uint64_t needed_bytes = 0, free_bytes = 0;  // on the destination's disk: what is still to be written, and room
  uint64_t memory_bytes = 0;                  // for what is on its way
  int n_layers = 0, n_layers_done = 0;        // done: by an earlier run
  std::vector<std::string> notes;             // what is left out or in another format than asked for
};

// What packing did. Rates are of each part while it was busy.
struct PackReport {
  uint64_t bytes_read = 0, bytes_written = 0;
  double seconds = 0;
  double read_gb_per_s = 0, encode_gb_per_s = 0, write_gb_per_s = 0;  // encode: of the source's bytes
  double share_of_slowest = 0;  // how near the whole came to the slowest of the three
  int n_layers_kept = 0;        // from an earlier run, found to be whole
};

// Throws Error: usage (unknown formats, source and destination the same), input (recipe, source), unsupported, io.
PackPlan plan_pack(const PackOptions& options);

// Throws Error like plan_pack; io (disk full, reads and writes that fail), input (weights that are not finite),
// interrupted. What is done by then stays, and the same call goes on with it.
PackReport pack(const PackOptions& options);

// Whether packing into the folder was finished.
bool is_packed(const std::string& folder);

// Reads a finished packed folder again, past the page cache where it can be, and compares every checksum; of the source
// nothing is needed. Returns the bytes compared; throws Error: io, naming the first record that differs, usage when it
// was packed in other formats than the options say.
uint64_t verify_pack(const PackOptions& options);

}  // namespace flashmoe
