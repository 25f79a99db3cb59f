#include "engine/memory_planner.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "experts/streamed.h"
#include "model/delta_state.h"
#include "model/file_rows.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace flashmoe {
namespace {

constexpr int64_t kDefaultContext = 16384;
constexpr int64_t kResidentContext = 8192;  // an automatic one shrinks so far for all experts to be in memory
constexpr int64_t kLeastContext = 1024;
// Up to here keys and values are f16 by themselves; in a longer context q8 decodes faster (docs/experiments/0014).
constexpr int64_t kLongestF16Context = 16384;
// An expert is read and unpacked once a chunk, so long chunks pay most where experts are many and not in memory.
constexpr int64_t kLongestChunk = 8192;
constexpr std::array<int64_t, 2> kResidentChunks = {1024, 512};  // where all experts are in memory
constexpr uint64_t kWorkspaceShare = 32;       // an automatic chunk takes at most this part of the limit
constexpr uint64_t kContextShare = 8;          // so does the KV cache of an automatic context
constexpr uint64_t kSessionsShare = 16;        // and the conversations that a service remembers
constexpr uint64_t kStatesRemembered = 4;      // of a conversation: one at the end of each of its last messages
constexpr uint64_t kProgramBytes = 24 * kMiB;  // code, stacks, heap beyond what was counted when planning
constexpr uint64_t kPageTableShare = 256;      // page tables are 1/512 of small pages; the rest is the kernel's own
constexpr uint64_t kNeverLentShare = 64;       // of the limit: for what the kernel takes beside what is planned
constexpr uint64_t kLimitSlack = 32;           // --ram may exceed the measured limit by this part of it
constexpr uint64_t kReadQueueBytes = kMiB;     // rings and request lists
constexpr uint64_t kRowQueueBytes = kMiB / 4;  // the same of the embedding's rows

const char* name_of(Allotted what) { return kAllottedNames[static_cast<size_t>(what)]; }

Allotted allotted_of(const Allotment& allotment) {
  const auto name = std::find(kAllottedNames.begin(), kAllottedNames.end(), allotment.name);
  return static_cast<Allotted>(name - kAllottedNames.begin());
}

uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// Of steps of so many rows.
uint64_t workspace_bytes(const PlanRequest& r, int64_t rows) {
  return Workspace::bytes(r.config, workspace_shape(r.experts, rows, r.options.exact, r.n_threads));
}

uint64_t n_sequences(const PlanRequest& r) { return static_cast<uint64_t>(std::max(1, r.n_answers)); }

uint64_t kv_bytes(const PlanRequest& r, KvFormat kv, int64_t tokens) {
  return n_sequences(r) * KvCache::bytes(r.config, kv, tokens);
}

// What conversations that nobody is answering may take.
uint64_t sessions_bytes(const PlanRequest& r, KvFormat kv, int64_t context_tokens, uint64_t limit_bytes) {
  if (r.n_answers == 0) return 0;
  const uint64_t each = KvCache::bytes(r.config, kv, context_tokens) + kStatesRemembered * DeltaState::bytes(r.config);
  return std::min(limit_bytes / kSessionsShare, 2 * n_sequences(r) * each);
}

// `context_tokens`: of which no prompt has more.
int64_t choose_chunk(const PlanRequest& r, int64_t context_tokens, uint64_t limit_bytes) {
  if (r.options.prefill_chunk > 0) {
    return static_cast<int64_t>(round_up(static_cast<uint64_t>(r.options.prefill_chunk), kDeltaChunk));
  }
  int64_t chunk = kLongestChunk;
  while (chunk > kDeltaChunk &&
         (chunk / 2 >= context_tokens || workspace_bytes(r, chunk + r.n_answers) > limit_bytes / kWorkspaceShare)) {
    chunk /= 2;
  }
  return chunk;
}

// The prompt and, where there is to be an answer, its first token.
int64_t least_context(const PlanRequest& r) { return r.prompt_tokens + std::min<int64_t>(r.answer_tokens, 1); }

int64_t choose_context(const PlanRequest& r, KvFormat kv, uint64_t limit_bytes) {
  const int64_t longest = r.config.context_tokens, chosen = r.options.context_tokens;
  if (chosen > longest) fail(Fault::usage, "--ctx {} is more than the model's context of {} tokens", chosen, longest);
  const int64_t most = chosen > 0 ? chosen : longest;
  if (least_context(r) > most) {
    fail(chosen > 0 ? Fault::usage : Fault::input, "the prompt has {} tokens{}, but the context holds {}; {}",
         r.prompt_tokens, r.answer_tokens > 0 ? " and an answer needs one more" : "", most,
         most < longest ? "raise it with --ctx" : "that is all this model can take");
  }
  if (chosen > 0) return chosen;
  const int64_t wanted = std::min(longest, r.prompt_tokens + r.answer_tokens);
  int64_t tokens = std::min(kDefaultContext, longest);
  while (tokens > kLeastContext && kv_bytes(r, kv, tokens) > limit_bytes / kContextShare) tokens /= 2;
  return std::max(tokens, wanted);
}

// By what was asked for alone: the numbers of an answer do not depend on the memory it is given.
KvFormat automatic_kv_format(const PlanRequest& r) {
  if (r.options.exact) return KvFormat::f32;
  const int64_t tokens = r.options.context_tokens > 0 ? r.options.context_tokens : r.prompt_tokens + r.answer_tokens;
  const bool is_long = std::min(tokens, r.config.context_tokens) > kLongestF16Context;
  return is_long && kv_format_refusal(r.config, KvFormat::q8) == nullptr ? KvFormat::q8 : KvFormat::f16;
}

KvFormat choose_kv_format(const PlanRequest& r) {
  switch (r.options.kv) {
    case KvChoice::automatic:
      return automatic_kv_format(r);
    case KvChoice::f16:
      return KvFormat::f16;
    case KvChoice::f32:
      return KvFormat::f32;
    case KvChoice::q8:
      break;
  }
  if (const char* refusal = kv_format_refusal(r.config, KvFormat::q8)) {
    fail(Fault::usage, "--kv q8 {}; this model's have {}: use --kv f16", refusal, r.config.attention.d_head);
  }
  return KvFormat::q8;
}

MemoryLimit choose_limit(const PlanRequest& r) {
  if (r.options.ram_bytes == 0) {
    // What the kernel itself needs beside us, and what others may come to need.
    const uint64_t reserve = std::max(r.limit.bytes / 32, std::min(64 * kMiB, r.limit.bytes / 8));
    return {.bytes = r.limit.bytes - reserve,
            .source = fmt::format("{}, less {} left free", r.limit.source, human_bytes(reserve))};
  }
  // A limit of the same size, less what is in use already, is what was meant.
  if (r.options.ram_bytes > r.limit.bytes + r.limit.bytes / kLimitSlack) {
    fail(Fault::usage, "--ram asks for {}, but only {} can be used ({}); leave --ram away to use what there is",
         human_bytes(r.options.ram_bytes), human_bytes(r.limit.bytes), r.limit.source);
  }
  return {.bytes = std::min(r.options.ram_bytes, r.limit.bytes), .source = r.options.ram_source};
}

// What an automatic plan may choose, and fall back from when memory is tight.
struct Sizes {
  int64_t context_tokens = 0;
  int64_t prefill_chunk = 0;
  uint64_t sessions_bytes = 0;
  bool embedding_in_file = false;
};

uint64_t trunk_bytes(const PlanRequest& r, const Sizes& sizes) {
  return r.trunk_bytes - (sizes.embedding_in_file ? r.embedding.trunk_bytes : 0);
}
uint64_t read_buffer_bytes(const PlanRequest& r, const Sizes& sizes) {
  return kReadQueueBytes + (sizes.embedding_in_file ? r.embedding.read_buffer_bytes : 0);
}

// Everything but the routed experts. `least`: what the floors are counted with.
Placement place_trunk(const PlanRequest& r, const MemoryLimit& limit, KvFormat kv, const Sizes& sizes,
                      const Sizes& least) {
  Placement placement;
  MemoryPlan& plan = placement.plan;
  plan.limit_bytes = limit.bytes;
  plan.limit_source = limit.source;
  plan.experts_total_bytes = r.experts.bytes();
  placement.kv_format = kv;
  plan.kv_bytes_per_token = KvCache::bytes_per_token(r.config, kv);
  placement.context_tokens = sizes.context_tokens;
  placement.prefill_chunk = sizes.prefill_chunk;
  placement.max_rows = sizes.prefill_chunk + r.n_answers;
  plan.left_in_file_bytes = sizes.embedding_in_file ? r.embedding.trunk_bytes : 0;
  const auto allot = [&](Allotted what, uint64_t bytes, uint64_t floor) {
    plan.allotments.push_back({name_of(what), bytes, floor});
  };
  const uint64_t delta = n_sequences(r) * DeltaState::bytes(r.config);
  const uint64_t program = r.program_bytes + kProgramBytes + limit.bytes / kPageTableShare;
  allot(Allotted::trunk, trunk_bytes(r, sizes), trunk_bytes(r, least));
  allot(Allotted::kv_cache, kv_bytes(r, kv, sizes.context_tokens), kv_bytes(r, kv, least.context_tokens));
  if (delta > 0) allot(Allotted::delta_state, delta, delta);
  allot(Allotted::workspace, workspace_bytes(r, sizes.prefill_chunk + r.n_answers),
        workspace_bytes(r, least.prefill_chunk + r.n_answers));
  allot(Allotted::read_buffers, read_buffer_bytes(r, sizes), read_buffer_bytes(r, sizes));
  allot(Allotted::program, program, program);
  if (r.n_answers > 0) allot(Allotted::sessions, sizes.sessions_bytes, 0);
  return placement;
}

// Gives the routed experts what is left, and never less than they need.
void place_experts(const PlanRequest& r, MemoryPlan& plan) {
  const uint64_t taken = plan.budget_bytes();
  const uint64_t left = minus(plan.limit_bytes, taken);
  const uint64_t resident = streamed_sizes(r.experts, r.resident_alignment).full_bytes;
  const StreamedSizes streamed = streamed_sizes(r.experts, r.read_alignment);
  const ExpertsChoice choice = r.options.experts;
  plan.experts_resident = choice == ExpertsChoice::resident || (choice == ExpertsChoice::automatic && left >= resident);
  const uint64_t floor = plan.experts_resident ? resident : streamed.floor_bytes;
  const uint64_t given = plan.experts_resident ? resident : std::clamp(left, streamed.floor_bytes, streamed.full_bytes);
  plan.allotments.push_back({name_of(Allotted::expert_cache), given, floor});
}

// Lets streamed experts have what a sequence, a step or a conversation will need, until it does.
void lend(const PlanRequest& r, Placement& placement) {
  MemoryPlan& plan = placement.plan;
  if (plan.experts_resident || !r.options.lend) return;
  uint64_t lenders = 0;
  for (const Allotted lender : kLenders) lenders += plan.given(name_of(lender));
  // The cache has addresses for what is lent, beside those of the lenders.
  placement.lendable_bytes =
      std::min(minus(lenders, plan.limit_bytes / kNeverLentShare), minus(r.limit.mappable_bytes, plan.budget_bytes()));
  const uint64_t decoding =
      KvCache::bytes(r.config, placement.kv_format, 1) + DeltaState::bytes(r.config) + workspace_bytes(r, 1);
  const uint64_t room =
      minus(streamed_sizes(r.experts, r.read_alignment).full_bytes, plan.given(name_of(Allotted::expert_cache)));
  plan.lent_bytes = std::min(minus(placement.lendable_bytes, decoding), room);
}

Placement place(const PlanRequest& r, const MemoryLimit& limit, KvFormat kv, const Sizes& sizes, const Sizes& least) {
  Placement placement = place_trunk(r, limit, kv, sizes, least);
  place_experts(r, placement.plan);
  lend(r, placement);
  for (const Allotment& a : placement.plan.allotments) placement.plan.floor_bytes += a.floor_bytes;
  return placement;
}

bool fits(const MemoryPlan& plan) { return plan.budget_bytes() <= plan.limit_bytes; }

Sizes with_context(const PlanRequest& r, const MemoryLimit& limit, KvFormat kv, Sizes sizes, int64_t tokens) {
  sizes.context_tokens = tokens;
  sizes.sessions_bytes = sessions_bytes(r, kv, tokens, limit.bytes);
  return sizes;
}

// All experts in memory are worth more than a long context that nobody asked for, than a long chunk, which gains them
// less, and than the embedding in memory. Where they do not fit, each is worth more there than rows of the embedding.
Placement place_wanted(const PlanRequest& r, const MemoryLimit& limit, KvFormat kv, const Sizes& wanted,
                       const Sizes& least) {
  const int64_t asked = std::max<int64_t>(r.options.context_tokens, r.prompt_tokens + r.answer_tokens);
  const int64_t shorter = std::min(wanted.context_tokens, std::max(kResidentContext, asked));
  Sizes sizes = wanted;
  for (const bool embedding_in_file : {false, wanted.embedding_in_file}) {
    sizes.embedding_in_file = embedding_in_file;
    for (const int64_t chunk : kResidentChunks) {
      if (r.options.prefill_chunk == 0) sizes.prefill_chunk = std::min(wanted.prefill_chunk, chunk);
      for (const int64_t tokens : {wanted.context_tokens, shorter}) {
        const Placement placement = place(r, limit, kv, with_context(r, limit, kv, sizes, tokens), least);
        if (placement.plan.experts_resident && fits(placement.plan)) return placement;
      }
    }
  }
  return place(r, limit, kv, wanted, least);
}

}  // namespace

LeftInFile left_in_file(const Binder& binder, uint32_t alignment) {
  const Binder::MatrixRequest* rows = binder.rows();
  if (rows == nullptr) return {};
  const LeftInFile left = {Trunk::bytes(binder, RowsOf::memory) - Trunk::bytes(binder, RowsOf::file),
                           FileRows::bytes(*rows, alignment) + kRowQueueBytes};
  return left.trunk_bytes > left.read_buffer_bytes ? left : LeftInFile{};
}

WorkspaceShape workspace_shape(const ExpertTable& experts, int64_t rows, bool exact, int n_threads) {
  return {rows, !exact, exact || experts.reads_float_activations(), n_threads};
}

Placement plan_memory(const PlanRequest& r) {
  const MemoryLimit limit = choose_limit(r);
  const KvFormat kv = choose_kv_format(r);
  const int64_t context_tokens = choose_context(r, kv, limit.bytes);
  const int64_t chunk = choose_chunk(r, context_tokens, limit.bytes);
  const Sizes wanted = with_context(r, limit, kv, {0, chunk, 0, r.embedding.trunk_bytes > 0}, context_tokens);
  const int64_t least_tokens = std::max(least_context(r), std::min(kLeastContext, wanted.context_tokens));
  const Sizes least = {r.options.context_tokens > 0 ? wanted.context_tokens : least_tokens,
                       r.options.prefill_chunk > 0 ? wanted.prefill_chunk : kDeltaChunk, 0, wanted.embedding_in_file};
  Placement placement = place_wanted(r, limit, kv, wanted, least);
  if (fits(placement.plan)) return placement;
  placement = place(r, limit, kv, least, least);
  if (fits(placement.plan)) return placement;
  throw Error(Fault::memory_floor,
              "the memory limit is below what this model needs at least\n" + placement.plan.table());
}

void apply(const Placement& placement, Budget& budget) {
  for (const Allotment& a : placement.plan.allotments) budget.allot(allotted_of(a), a.bytes);
  budget.lend(placement.lendable_bytes);
}

}  // namespace flashmoe
