// Every expert in memory, read once at the start.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "experts/source.h"
#include "io/file.h"
#include "io/read_queue.h"
#include "memory/buffer.h"

namespace flashmoe {

// Bytes of Allotted::expert_cache that ResidentExperts takes.
uint64_t resident_bytes(const ExpertTable& table);

// Reads all records through `queue`. Throws Error{io}. `on_bytes` gets the bytes read so far.
std::unique_ptr<ExpertSource> make_resident_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, bool direct, Budget& budget,
                                                    const std::function<void(uint64_t)>& on_bytes);

}  // namespace flashmoe
