// Measures the machine with one model's threads, kernels, matrices and files.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "engine/memory_planner.h"
#include "engine/reading.h"
#include "engine/report.h"
#include "experts/disk_roof.h"
#include "flashmoe/forecast.h"
#include "flashmoe/options.h"
#include "flashmoe/roofs.h"

namespace flashmoe {

// Borrows the model and the options. Every function throws Error: io, interrupted, usage (kernels or threads that this
// machine does not have).
class MachineProbe {
 public:
  MachineProbe(const BoundModel& model, const EngineOptions& options) : model_(model), options_(options) {}

  // RAM is read where `loaded` lies if that is enough to tell; if there is something loaded, and it is not, RAM is not
  // measured. With nothing loaded, memory is taken for the occasion: at most a quarter of the limit.
  Roofs roofs(const RoofsWanted& wanted, std::span<const std::byte> loaded) const;

  // Of the memory taken for that.
  uint64_t working_set_bytes() const;

  // With nothing loaded. `prefill_rows`: of a prompt's step; `position`: of the decoded token.
  Speeds speeds(Reading& reading, const Placement& placement, int64_t prefill_rows, double position) const;

 private:
  double ram(ThreadPool& pool, std::span<const std::byte> loaded) const;
  DiskProbe disk_probe(const Reading& reading, double seconds) const;
  std::unique_ptr<ReadQueue> queue(Reading& reading) const;

  const BoundModel& model_;
  const EngineOptions& options_;
};

}  // namespace flashmoe
