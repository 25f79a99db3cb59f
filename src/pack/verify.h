// Compares files of a packed folder with their checksums.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "pack/pipeline.h"

namespace flashmoe {

// The first expert whose record differs; nothing: none. `on_bytes` gets the bytes of each step and may be empty.
std::optional<size_t> first_difference(const File& bank, const PackedLayer& layer,
                                       const std::function<void(uint64_t)>& on_bytes);

// Of a task's result as a file has it.
uint64_t task_checksum(const File& file, const Task& task);

}  // namespace flashmoe
