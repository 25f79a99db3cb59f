// Hugging Face folders: safetensors, whole or sharded, and config.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/contents.h"

namespace flashmoe {

// A folder with config.json and *.safetensors. Throws as Checkpoint::open does.
std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder);
// One .safetensors file or one .safetensors.index.json, with config.json in the same folder.
std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path);

// One file's header, with tensor offsets counted from the start of the file.
std::vector<ListedTensor> read_safetensors_header(const File& file);

// An index's "weight_map".
struct ShardedName {
  std::string tensor;
  std::string shard;  // file name
};
std::vector<ShardedName> read_safetensors_index(const File& file);

// The whole of a small text file; throws Error{input} when it is larger than max_bytes.
std::string read_text(const File& file, uint64_t max_bytes);

}  // namespace flashmoe
