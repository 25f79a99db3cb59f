// The header of a GGUF v3 file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace flashmoe {

using Metadata = std::map<std::string, MetaValue, std::less<>>;

struct GgufEntry {
  std::string name;
  std::vector<int64_t> shape;  // outermost first
  uint32_t type = 0;
  uint64_t bytes = 0;
  uint64_t offset = 0;  // in the file; set by lay_out
};

// Gives every entry its place and returns the header, padded to where the first tensor begins. Whole numbers are
// written as 32 bits where they fit.
std::string lay_out_gguf(const Metadata& metadata, std::vector<GgufEntry>& entries);

}  // namespace flashmoe
