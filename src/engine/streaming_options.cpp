#include "engine/streaming_options.h"

#include <algorithm>

#include "engine/memory_governor.h"

namespace flashmoe {
StreamedOptions streaming_options(const EngineOptions& options, const Placement& placement, const ExpertTable& experts,
                                  const Reading& reading, int n_threads, const Budget& budget,
                                  std::vector<float> rates) {
  const bool resident = placement.plan.experts_resident, direct = reading.direct();
  StreamedOptions how{.direct = direct,
                      .read_ahead = options.read_ahead,
                      .warm_up = true,
                      .verify = options.verify_reads,
                      .rates = std::move(rates)};
  const StreamedSizes sizes = streamed_sizes(experts, 1);
  const uint64_t full_bytes = std::min(budget.expert_cache_most(), sizes.full_bytes);
  how.missing_bytes = [full_bytes,
                       governed = governed_cache({.full_bytes = full_bytes,
                                                  .floor_bytes = sizes.floor_bytes,
                                                  .low_bytes = headroom_to_keep(placement.plan.limit_bytes)})] {
    return full_bytes - governed();
  };
  // Where memory cannot hold the model twice, each record copied would push out others, not copied yet.
  how.drop_behind = resident && !direct && placement.plan.spare_bytes() < budget.allotted(Allotted::expert_cache);
  // Where the page cache has the file, memory taken too early would push it out.
  if (direct) how.prefault_threads = n_threads;
  if (direct) how.alignment = resident ? reading.loading_alignment() : reading.alignment();
  return how;
}

}  // namespace flashmoe
