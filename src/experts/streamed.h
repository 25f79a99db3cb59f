// Experts read from disk when the router picks them, or when the disk has nothing better to do, and kept in a bounded
// cache. With a slot for every expert that is: everything in memory, lazily.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "experts/slot_layout.h"
#include "experts/source.h"
#include "flashmoe/options.h"
#include "io/file.h"
#include "io/read_queue.h"
#include "kernels/interleaving.h"
#include "memory/buffer.h"

namespace flashmoe {

struct StreamedOptions {
  bool direct = false;     // O_DIRECT
  uint32_t alignment = 1;  // of direct reads, 1 when buffered
  ReadAheadChoice read_ahead = ReadAheadChoice::off;
  // Empty slots are filled while nobody asks for anything, and, where reads cost no processor time (direct), in the
  // gaps of a token too: the experts most used in earlier runs first.
  bool warm_up = false;
  VerifyChoice verify = VerifyChoice::first;  // of records with a checksum
  bool drop_behind = false;                   // records that were copied leave the page cache
  // Records are rearranged as this table wants them when they are first used, on the threads of the pool, whose one
  // caller is who holds the leases; null: they stay as stored.
  const KernelTable* interleave_for = nullptr;
  ThreadPool* pool = nullptr;
  int prefault_threads = 0;  // that take the cache's memory from the system before it is used
  // What the system is short of right now, asked before each step: so much less than the budget lets them have, the
  // slots take. Empty: nothing.
  std::function<uint64_t()> missing_bytes = {};
  std::vector<float> rates = {};  // [n_layers, n_experts] picks of each for a token in earlier runs; empty: not known
};

// Takes all of the budget's Allotted::expert_cache (at least floor_bytes, at most full_bytes), and what is lent to it:
// whoever claims that makes the cache smaller at once, so nothing is claimed of a lender before, or while a lease
// lives. One such source a budget.
std::unique_ptr<ExpertSource> make_streamed_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, const StreamedOptions& options,
                                                    Budget& budget);

}  // namespace flashmoe
