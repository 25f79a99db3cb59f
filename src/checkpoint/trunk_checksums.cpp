#include "checkpoint/trunk_checksums.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/file_checksum.h"
#include "checkpoint/gguf.h"
#include "checkpoint/packed_folder.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

uint64_t checksum_of_header(const File& trunk, uint64_t bytes) {
  Checksum checksum;
  add_range(trunk, 0, bytes, {}, checksum);
  return checksum.value();
}

}  // namespace

TrunkChecksums checksums_of_trunk(const File& trunk, const Manifest& manifest,
                                  const std::function<void(uint64_t)>& on_bytes) {
  std::map<std::string, const ListedTensor*, std::less<>> listed;
  const GgufHeader header = read_gguf_header(trunk);
  TrunkChecksums sums;
  sums.header_bytes = trunk.size();
  for (const ListedTensor& tensor : header.tensors) {
    listed.emplace(tensor.name, &tensor);
    sums.header_bytes = std::min(sums.header_bytes, tensor.offset);
  }
  sums.header = checksum_of_header(trunk, sums.header_bytes);
  const auto add = [&](const ListedTensor& tensor, Checksum& checksum) {
    add_range(trunk, tensor.offset, tensor.bytes.value_or(0), on_bytes, checksum);
  };
  for (const PackedTensor& tensor : manifest.apart) {
    Checksum checksum;
    for (const std::string& name : {tensor.name, scales_name(tensor.name), biases_name(tensor.name)}) {
      const auto found = listed.find(name);
      if (found == listed.end()) continue;
      add(*found->second, checksum);
      listed.erase(found);
    }
    sums.tensors.emplace(tensor.name, checksum.value());
  }
  for (const auto& [name, tensor] : listed) {
    Checksum checksum;
    add(*tensor, checksum);
    sums.tensors.emplace(name, checksum.value());
  }
  return sums;
}

void check_trunk_header(const File& trunk, const Manifest& manifest) {
  const TrunkChecksums& wanted = manifest.trunk_checksums;
  if (checksum_of_header(trunk, std::min(wanted.header_bytes, trunk.size())) == wanted.header) return;
  fail(Fault::input, "{}: its header is damaged: its checksum is not the one in manifest.json; restore it or pack anew",
       trunk.path());
}

std::optional<std::string> damage_of_trunk(const File& trunk, const Manifest& manifest,
                                           const std::function<void(uint64_t)>& on_bytes) {
  const TrunkChecksums& wanted = manifest.trunk_checksums;
  if (trunk.size() != manifest.trunk_bytes) return "its length";
  if (checksum_of_header(trunk, wanted.header_bytes) != wanted.header) return "its header";
  const TrunkChecksums found = checksums_of_trunk(trunk, manifest, on_bytes);
  for (const auto& [name, checksum] : found.tensors) {
    const auto known = wanted.tensors.find(name);
    if (known == wanted.tensors.end() || known->second != checksum) return "tensor " + in_quotes(name);
  }
  return std::nullopt;
}

uint64_t checksum_of_tensor(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  Checksum checksum;
  for (const Extent& part : {Extent{tensor.file, tensor.offset, tensor.bytes}, tensor.scales, tensor.biases}) {
    add_range(*checkpoint.files()[part.file], part.offset, part.bytes, {}, checksum);
  }
  return checksum.value();
}

}  // namespace flashmoe
