// GGUF files, versions 2 and 3, whole or split.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/contents.h"

namespace flashmoe {

// `path`: a GGUF file; of a split, any part. Throws as Checkpoint::open does.
std::unique_ptr<Checkpoint> open_gguf(const std::string& path);

// One file's header, with tensor offsets counted from the start of the file.
struct GgufHeader {
  uint32_t version = 0;
  std::map<std::string, MetaValue, std::less<>> metadata;
  std::vector<ListedTensor> tensors;
};
GgufHeader read_gguf_header(const File& file);

}  // namespace flashmoe
