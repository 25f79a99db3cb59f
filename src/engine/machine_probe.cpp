#include "engine/machine_probe.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "engine/compute_choice.h"
#include "engine/forecast.h"
#include "engine/model_speeds.h"
#include "engine/roof_probe.h"
#include "memory/memory_limit.h"

namespace flashmoe {
namespace {

constexpr uint64_t kWorkingSetBytes = 512 * kMiB;  // far more than any L3 cache holds of it
constexpr uint64_t kLimitShare = 4;                // at most this part of the limit
constexpr double kBurstSeconds = 2;

}  // namespace

uint64_t MachineProbe::working_set_bytes() const {
  const uint64_t limit_bytes = options_.ram_bytes > 0 ? options_.ram_bytes : detect_memory_limit().bytes;
  return std::min(kWorkingSetBytes, limit_bytes / kLimitShare);
}

DiskProbe MachineProbe::disk_probe(const Reading& reading, double seconds) const {
  return {model_.experts, model_.checkpoint->files(), reading.direct(), reading.direct() ? reading.alignment() : 1,
          seconds,        options_.keep_going};
}

// As loading would make it for streamed experts.
std::unique_ptr<ReadQueue> MachineProbe::queue(Reading& reading) const {
  Budget budget;
  budget.allot(Allotted::expert_cache, kTrialMemoryBytes);
  return reading.streaming_queue(model_.experts, budget);
}

Roofs MachineProbe::roofs(const RoofsWanted& wanted) const {
  Roofs roofs;
  ThreadPool pool(choose_threads(options_.n_threads));
  if (wanted.ram) roofs.ram_gb_per_s = measure_ram(pool, working_set_bytes(), options_.keep_going);
  if (wanted.int8) roofs.int8_tops = measure_int8(pool, choose_kernels(options_.kernels), options_.keep_going);
  if (!wanted.disk) return roofs;
  Reading reading(*model_.checkpoint, options_);
  const auto reads = queue(reading);
  roofs.disk_gb_per_s = measure_expert_reads(disk_probe(reading, wanted.disk_seconds), *reads);
  roofs.io_mode = reading.direct()
                      ? fmt::format("{}, direct {}, depth {}", reads->name(), reading.alignment(), reads->depth())
                      : fmt::format("{}, buffered, depth {}", reads->name(), reads->depth());
  return roofs;
}

Speeds MachineProbe::speeds(Reading& reading, const Placement& placement, int64_t prefill_rows, double position) const {
  const bool streamed = !placement.plan.experts_resident;
  ThreadPool pool(choose_threads(options_.n_threads));
  const auto kv_bytes = static_cast<double>(placement.plan.kv_bytes_per_token);
  const auto measure = [&](Speeds& speeds) {
    MatmulProbe probe(pool, choose_kernels(options_.kernels), options_.exact, working_set_bytes(), options_.keep_going);
    measure_model(model_, probe, prefill_rows, position * kv_bytes, speeds);
  };
  Speeds first, second;
  first.roofs = second.roofs = roofs({.disk = streamed});
  measure(first);
  if (streamed) first.burst_s = undisturbed(measure_bursts(disk_probe(reading, kBurstSeconds), *queue(reading)));
  measure(second);  // what disturbs one measurement seldom lasts until the next
  return with_faster_matrices(first, second);
}

}  // namespace flashmoe
