// Measures the machine with one model's threads, kernels, matrices and files.
#pragma once

#include <memory>

#include "engine/bound_model.h"
#include "engine/memory_planner.h"
#include "engine/reading.h"
#include "experts/disk_roof.h"
#include "flashmoe/forecast.h"
#include "flashmoe/options.h"
#include "flashmoe/roofs.h"

namespace flashmoe {

struct RoofsWanted {
  bool ram = true, disk = true, int8 = true;
  double disk_seconds = 2;  // at most
};

// Borrows the model and the options. Every function throws Error: io, interrupted, usage (kernels or threads that this
// machine does not have).
class MachineProbe {
 public:
  MachineProbe(const BoundModel& model, const EngineOptions& options) : model_(model), options_(options) {}

  // For RAM, memory is taken for the occasion: at most a quarter of the limit.
  Roofs roofs(const RoofsWanted& wanted) const;

  // Of the memory taken for that.
  uint64_t working_set_bytes() const;

  // With nothing loaded. `prefill_rows`: of a prompt's step; `position`: of the decoded token.
  Speeds speeds(Reading& reading, const Placement& placement, int64_t prefill_rows, double position) const;

 private:
  DiskProbe disk_probe(const Reading& reading, double seconds) const;
  std::unique_ptr<ReadQueue> queue(Reading& reading) const;

  const BoundModel& model_;
  const EngineOptions& options_;
};

}  // namespace flashmoe
