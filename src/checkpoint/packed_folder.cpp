#include "checkpoint/packed_folder.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/gguf.h"
#include "checkpoint/shown_name.h"
#include "checkpoint/trunk_checksums.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

void check_size(const File& file, uint64_t bytes) {
  if (file.size() == bytes) return;
  fail(Fault::input, "{}: has {} bytes, manifest.json says {}: cut short or of another model; restore it or pack anew",
       file.path(), file.size(), bytes);
}

// Takes tensor `name` out of what the trunk's header lists, whatever its type.
Extent take(CheckpointContents& contents, const std::string& name, uint64_t bytes) {
  Extent extent;
  bool found = false;
  if (const auto known = contents.tensors.find(name); known != contents.tensors.end()) {
    extent = {known->second.file, known->second.offset, known->second.bytes};
    contents.tensors.erase(known);
    found = true;
  } else {
    const auto raw = std::find_if(contents.unsupported.begin(), contents.unsupported.end(),
                                  [&](const UnsupportedTensor& t) { return t.name == name; });
    if (raw != contents.unsupported.end()) {
      extent = {raw->file, raw->offset, raw->bytes};
      contents.unsupported.erase(raw);
      found = true;
    }
  }
  if (!found || extent.bytes != bytes) {
    fail(Fault::input, "{}: tensor {} has {} bytes in trunk.gguf, manifest.json says {}: pack anew", contents.path,
         in_quotes(name), extent.bytes, bytes);
  }
  return extent;
}

void join_apart(CheckpointContents& contents, const PackedTensor& packed) {
  const uint64_t n = packed.shape.size() == 3 ? static_cast<uint64_t>(packed.shape[0]) : 1;
  const auto bytes = packed.matrix.part_bytes();
  const Extent weights = take(contents, packed.name, n * bytes[0]);
  TensorInfo tensor;
  tensor.name = packed.name;
  tensor.format = packed.matrix.format;
  tensor.shape = packed.shape;
  tensor.file = weights.file;
  tensor.offset = weights.offset;
  tensor.bytes = weights.bytes;
  tensor.grid = packed.matrix.grid;
  tensor.scales = take(contents, scales_name(packed.name), n * bytes[1]);
  if (bytes[2] > 0) tensor.biases = take(contents, biases_name(packed.name), n * bytes[2]);
  contents.tensors.emplace(tensor.name, std::move(tensor));
}

void add_bank(CheckpointContents& contents, const Manifest& manifest, size_t index, std::shared_ptr<File> file) {
  const PackedLayer& layer = manifest.layers[index];
  const auto n = static_cast<uint64_t>(manifest.n_experts);
  check_size(*file, n * layer.stride());
  const auto checksums = std::make_shared<const std::vector<uint64_t>>(layer.checksums);
  const auto file_index = static_cast<uint32_t>(contents.files.size());
  uint64_t at = 0;
  constexpr const char* kNames[] = {"gate", "up", "down"};
  for (size_t m = 0; m < 3; ++m) {
    const PackedMatrix& matrix = layer.matrices[m];
    const auto bytes = matrix.part_bytes();
    TensorInfo tensor;
    tensor.name = fmt::format("blk.{}.ffn_{}_exps.weight", index, kNames[m]);
    tensor.format = matrix.format;
    tensor.shape = {manifest.n_experts, matrix.rows, matrix.cols};
    tensor.file = file_index;
    tensor.offset = at;
    tensor.bytes = n * bytes[0];
    tensor.grid = matrix.grid;
    if (bytes[1] > 0) tensor.scales = {file_index, at + bytes[0], n * bytes[1]};
    if (bytes[2] > 0) tensor.biases = {file_index, at + bytes[0] + bytes[1], n * bytes[2]};
    tensor.stride = layer.stride();
    tensor.checksums = checksums;
    at += bytes[0] + bytes[1] + bytes[2];
    const auto [place, is_new] = contents.tensors.try_emplace(tensor.name, tensor);
    if (!is_new) fail(Fault::input, "{}: tensor {} is in trunk.gguf, too", contents.path, in_quotes(tensor.name));
  }
  contents.files.push_back(std::move(file));
}

}  // namespace

std::unique_ptr<Checkpoint> open_packed_folder(const std::string& folder) {
  const fs::path base(folder);
  const Manifest manifest = Manifest::parse(*open_file((base / kManifestName).string()));
  CheckpointContents contents;
  contents.dialect = Dialect::gguf;
  contents.path = folder;
  std::shared_ptr<File> trunk = open_file((base / kTrunkName).string());
  check_size(*trunk, manifest.trunk_bytes);
  check_trunk_header(*trunk, manifest);
  GgufHeader header = read_gguf_header(*trunk);
  contents.container = "packed folder";
  contents.metadata = std::move(header.metadata);
  add_file(contents, std::move(trunk), std::move(header.tensors));
  for (const PackedTensor& tensor : manifest.apart) join_apart(contents, tensor);
  for (auto& [name, tensor] : contents.tensors) {
    const auto known = manifest.trunk_checksums.tensors.find(name);
    if (known == manifest.trunk_checksums.tensors.end()) {
      fail(Fault::input, "{}: manifest.json has no checksum for tensor {}: pack anew", folder, in_quotes(name));
    }
    tensor.checksum = known->second;
  }
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    if (manifest.layers[i].checksums.empty()) {
      fail(Fault::input, "{}: layer {} is not packed: manifest.json is damaged, pack anew", folder, i);
    }
    add_bank(contents, manifest, i, open_file((base / manifest.bank_name(i)).string()));
  }
  return make_checkpoint(std::move(contents));
}

}  // namespace flashmoe
