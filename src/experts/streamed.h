// Experts read from disk when the router picks them, kept in a bounded cache.
#pragma once

#include <memory>
#include <vector>

#include "experts/source.h"
#include "io/file.h"
#include "io/read_queue.h"
#include "memory/buffer.h"

namespace flashmoe {

struct StreamedSizes {
  uint64_t floor_bytes = 0;  // fewest bytes of Allotted::expert_cache that work: one token's picks of one layer
  uint64_t full_bytes = 0;   // beyond this nothing more is gained: every expert has a slot
};
// `alignment`: of direct reads, 1 when buffered.
StreamedSizes streamed_sizes(const ExpertTable& table, uint32_t alignment);

// Takes all of the budget's Allotted::expert_cache (at least floor_bytes). `direct`: O_DIRECT with `alignment`.
std::unique_ptr<ExpertSource> make_streamed_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, bool direct, uint32_t alignment,
                                                    Budget& budget);

}  // namespace flashmoe
