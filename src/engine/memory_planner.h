// Who gets which part of the memory, decided before anything is loaded.
#pragma once

#include "experts/source.h"
#include "flashmoe/memory_plan.h"
#include "flashmoe/options.h"
#include "memory/budget.h"
#include "memory/memory_limit.h"
#include "model/binder.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/workspace.h"

namespace flashmoe {

// What it saves and takes to leave the embedding in its file (model/file_rows.h).
struct LeftInFile {
  uint64_t trunk_bytes = 0;  // 0: it cannot be left there, or nothing is won
  uint64_t read_buffer_bytes = 0;
};
// `alignment`: of streamed reads.
LeftInFile left_in_file(const Binder& binder, uint32_t alignment);

struct PlanRequest {
  const ModelConfig& config;
  const ExpertTable& experts;
  uint64_t trunk_bytes = 0;
  uint64_t program_bytes = 0;   // what the process holds already: metadata, tokenizer
  uint32_t read_alignment = 1;  // of streamed reads
  int64_t prompt_tokens = 0;    // a sequence of these must fit the context,
  int64_t answer_tokens = 0;    // and these more should
  const EngineOptions& options;
  MemoryLimit limit;                // of the machine or cgroup
  uint32_t resident_alignment = 1;  // of reads where every expert has a place in memory
  int n_answers = 0;                // a service's, side by side; 0: one session, and nothing is remembered beside it
  LeftInFile embedding = {};
  int n_threads = 1;  // that compute
};

// A plan and the settings it stands for.
struct Placement {
  MemoryPlan plan;
  int64_t context_tokens = 0;
  int64_t prefill_chunk = 0;  // rows, a multiple of kDeltaChunk
  int64_t max_rows = 0;       // of a step: a chunk, and beside it a row of each of a service's answers
  KvFormat kv_format = KvFormat::f16;
  uint64_t lendable_bytes = 0;  // of the lenders' allotments, to the expert cache while they are not claimed
};

// Throws Error{memory_floor} with the plan's table when the limit is below the floor, Error{usage} when --ram or --ctx
// asks for more than there is, or --ctx for less than the prompt and an answer need, Error{input} when the model's own
// context is too short for them.
Placement plan_memory(const PlanRequest& request);

// The workspace of prefill steps of `rows` rows.
WorkspaceShape workspace_shape(const ExpertTable& experts, int64_t rows, bool exact, int n_threads);

// Sets a budget's allotments to the plan's, and lends.
void apply(const Placement& placement, Budget& budget);

}  // namespace flashmoe
