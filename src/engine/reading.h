// How the checkpoint's files are read: which drives, which engine, and whether past the page cache.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "experts/source.h"
#include "flashmoe/options.h"
#include "io/disk_choice.h"
#include "io/spread_queue.h"
#include "memory/budget.h"

namespace flashmoe {

class Reading {
 public:
  // Opens and compares the mirrors. Throws Error{io, input} for one that is no copy, Error{unsupported} for an --io
  // that cannot be honoured.
  Reading(const Checkpoint& checkpoint, const EngineOptions& options);

  // Of direct reads, 1 when reads go through the page cache.
  uint32_t alignment() const { return alignment_; }
  // The same for loading_queue().
  uint32_t loading_alignment() const { return loads_direct() ? alignment_ : 1; }
  // The queue for experts that are streamed: each drive is tried once, with reads as long as those of `experts`, into
  // memory of the budget's expert_cache, and remembered in the user's cache folder. Sets direct().
  std::unique_ptr<ReadQueue> streaming_queue(const ExpertTable& experts, Budget& budget);
  // The queue for experts that stay in memory. Where the page cache has nearly all of the files, by threads that copy
  // from it; otherwise past it, as far as that works (docs/experiments/0024). --io may name either.
  std::unique_ptr<ReadQueue> loading_queue();
  // A queue whose reads go the way of the last queue's, too few or too small to try the drives for.
  std::unique_ptr<ReadQueue> untried_queue();
  // Whether the last queue's reads go past the page cache.
  bool direct() const { return direct_; }

 private:
  bool loads_direct() const { return alignment_ > 1 && !cached_; }
  void remark(std::string_view text);
  void open_mirrors(const std::vector<std::string>& folders, const Checkpoint& checkpoint);
  std::unique_ptr<ReadQueue> open_queue(const std::vector<DiskChoice>& choices);
  DiskChoice choose(const Drive& drive, const ExpertTable& experts, Budget& budget) const;

  IoChoice io_;
  bool may_uring_ = true;
  uint32_t alignment_ = 1;
  bool direct_ = false;
  bool cached_ = false;  // the page cache has the files; not asked where --io names an engine
  std::vector<Drive> drives_;
  std::string remark_;  // what the statistics should say: an engine that is forbidden, a mirror that brings nothing
};

}  // namespace flashmoe
