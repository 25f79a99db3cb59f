// Compares files of a packed folder with their checksums.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "flashmoe/pack.h"
#include "pack/pipeline.h"

namespace flashmoe {

// Of all files that the manifest says are there.
uint64_t bytes_to_verify(const Manifest& manifest);

// Takes the bytes of each step of `total`, tells them to the options' on_progress and asks their keep_going, whose end
// is Error{interrupted} with `how_to_go_on`.
std::function<void(uint64_t)> verifying(const PackOptions& options, uint64_t total, const std::string& how_to_go_on);

// The first expert whose record differs; nothing: none. `on_bytes` gets the bytes of each step and may be empty.
std::optional<size_t> first_difference(const File& bank, const PackedLayer& layer,
                                       const std::function<void(uint64_t)>& on_bytes);

// Of a task's result as a file has it.
uint64_t task_checksum(const File& file, const Task& task);

}  // namespace flashmoe
