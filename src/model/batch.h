// A batch is rows: one token each. Prefill is many rows of one sequence, decode one row per live sequence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace flashmoe {

class Sequence;

// What the delta-net layers remember after some rows of a run, at the end of a block, copied while the step passes
// there.
struct StateCopy {
  int64_t n_rows = 0;
  std::byte* to = nullptr;  // DeltaState::bytes
};

// Neighbouring rows that continue one sequence.
struct Run {
  Sequence* sequence = nullptr;
  int64_t first_row = 0;
  int64_t n_rows = 0;
  int64_t first_position = 0;  // of first_row in the sequence
  std::span<const StateCopy> copies = {};
  int64_t first_wanted = 0;  // of its rows: those before it only enter the sequence, no logits after them are wanted
};

struct Batch {
  std::span<const int32_t> tokens;  // [n]
  std::span<const Run> runs;        // cover all rows in order, each sequence at most once
  int64_t n() const { return static_cast<int64_t>(tokens.size()); }
  // Every row belongs to another sequence.
  bool decodes() const {
    return std::all_of(runs.begin(), runs.end(), [](const Run& run) { return run.n_rows == 1; });
  }
};

}  // namespace flashmoe
