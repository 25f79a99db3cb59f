// Whether trunk.gguf of a packed folder holds what was packed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"

namespace flashmoe {

// What the file has now. `on_bytes` gets the bytes of each step and may be empty. Throws Error{input} where its header
// makes no sense.
TrunkChecksums checksums_of_trunk(const File& trunk, const Manifest& manifest,
                                  const std::function<void(uint64_t)>& on_bytes);

// Throws Error{input} where the header is not the packed one; before that nothing in it is to be relied on.
void check_trunk_header(const File& trunk, const Manifest& manifest);

// What of the file differs from the manifest, for people: "its header", "tensor 'x'"; nothing: none.
std::optional<std::string> damage_of_trunk(const File& trunk, const Manifest& manifest,
                                           const std::function<void(uint64_t)>& on_bytes);

// Of a tensor as its file has it, comparable with TensorInfo::checksum.
uint64_t checksum_of_tensor(const Checkpoint& checkpoint, const TensorInfo& tensor);

}  // namespace flashmoe
