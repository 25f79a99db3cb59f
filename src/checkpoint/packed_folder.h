// Packed folders, as flashmoe pack writes them.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"

namespace flashmoe {

// A folder with manifest.json, trunk.gguf and a bank of experts for each layer: the trunk's tensors and, stacked by
// layer, those of the banks, under the names that GGUF gives them. Throws as Checkpoint::open does.
std::unique_ptr<Checkpoint> open_packed_folder(const std::string& folder);

// What a tensor's scales and biases are called in trunk.gguf.
inline std::string scales_name(const std::string& tensor) { return tensor + ".scales"; }
inline std::string biases_name(const std::string& tensor) { return tensor + ".biases"; }

}  // namespace flashmoe
