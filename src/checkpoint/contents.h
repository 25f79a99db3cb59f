// What the readers of GGUF and safetensors hand over, and the checks that both need.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace flashmoe {

struct CheckpointContents {
  Dialect dialect = Dialect::gguf;
  std::string path;
  std::string container;
  std::string folder;  // where side files are looked for; empty: nowhere
  std::vector<std::shared_ptr<File>> files;
  std::map<std::string, TensorInfo, std::less<>> tensors;
  std::vector<UnsupportedTensor> unsupported;
  std::map<std::string, MetaValue, std::less<>> metadata;
  nlohmann::json config;
};

std::unique_ptr<Checkpoint> make_checkpoint(CheckpointContents contents);

// Throws Error{input} when a name stands for two tensors; sorts the unsupported ones.
void refuse_duplicates(CheckpointContents& contents);

// A tensor as one file's header lists it.
struct ListedTensor {
  std::string name;
  std::string format_name;        // for people
  std::optional<Format> format;   // nothing: this build cannot run it
  std::vector<int64_t> shape;     // outermost first
  uint64_t offset = 0;            // in the file
  std::optional<uint64_t> bytes;  // nothing: of an unknown format
};

// How values are packed: `values` of them take `bytes`.
struct Packing {
  uint64_t values = 1;
  uint64_t bytes = 1;
};

// Bytes of a tensor; throws Error{input} when a dimension is below 1, the product overflows or rows split a block.
uint64_t packed_bytes(const File& file, const ListedTensor& tensor, Packing packing);

// Appends a file and its tensors. Throws Error{input} when one lies past the end, two overlap or a name came before.
void add_file(CheckpointContents& contents, std::shared_ptr<File> file, std::vector<ListedTensor> listed);

}  // namespace flashmoe
