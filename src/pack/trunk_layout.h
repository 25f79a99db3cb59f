// Where everything goes in trunk.gguf.
#pragma once

#include <string>
#include <vector>

#include "pack/pipeline.h"
#include "pack/source.h"

namespace flashmoe {

struct TrunkLayout {
  std::string header;
  std::vector<std::array<uint64_t, kMatrixParts>> at;  // [trunk], offsets of weights, scales and biases in the file
  uint64_t bytes = 0;                                  // of the file
};
TrunkLayout lay_out_trunk(const PackSource& source);

// The trunk's tensors, large ones in pieces of whole rows that take `most_bytes` of memory each.
std::vector<Task> trunk_tasks(const PackSource& source, const TrunkLayout& layout, uint64_t most_bytes);

}  // namespace flashmoe
