#include "engine/streaming_options.h"

#include <algorithm>

#include "engine/memory_governor.h"

namespace flashmoe {
namespace {

uint64_t cache_bytes_of(const MemoryPlan& plan) {
  const char* name = kAllottedNames[static_cast<size_t>(Allotted::expert_cache)];
  for (const Allotment& allotment : plan.allotments) {
    if (allotment.name == name) return allotment.bytes;
  }
  return 0;
}

}  // namespace

StreamedOptions streaming_options(const EngineOptions& options, const Placement& placement, const ExpertTable& experts,
                                  const Reading& reading, int n_threads, std::vector<float> rates) {
  const bool resident = placement.plan.experts_resident, direct = reading.direct();
  StreamedOptions how{.direct = direct,
                      .read_ahead = options.read_ahead,
                      .warm_up = true,
                      .verify = options.verify_reads,
                      .rates = std::move(rates)};
  how.cache_bytes = governed_cache({.full_bytes = cache_bytes_of(placement.plan),
                                    .floor_bytes = streamed_sizes(experts, 1).floor_bytes,
                                    .low_bytes = headroom_to_keep(placement.plan.limit_bytes)});
  // Where memory cannot hold the model twice, each record copied would push out others, not copied yet.
  how.drop_behind = resident && !direct && placement.plan.spare_bytes() < cache_bytes_of(placement.plan);
  // Where the page cache has the file, memory taken too early would push it out.
  if (direct) how.prefault_threads = n_threads;
  if (direct) how.alignment = resident ? reading.loading_alignment() : reading.alignment();
  return how;
}

}  // namespace flashmoe
