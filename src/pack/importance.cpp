#include "pack/importance.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/file_checksum.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {

Importance::Importance(const std::string& path) {
  if (path.empty()) return;
  file_ = open_file(path);
  std::vector<ListedTensor> tensors;
  try {
    tensors = read_safetensors_header(*file_);
  } catch (const Error& error) {
    if (error.fault() != Fault::input) throw;
    fail(Fault::input, "{}: is not an importance file of flashmoe calibrate, which is a whole safetensors file", path);
  }
  for (const ListedTensor& tensor : tensors) {
    if (tensor.format != Format::f32) continue;
    if (!entries_.try_emplace(tensor.name, Entry{tensor.shape, tensor.offset}).second) {
      fail(Fault::input, "{}: has {} twice", path, in_quotes(tensor.name));
    }
  }
  if (!entries_.contains("layers.0.experts.gate_up.counts")) {
    fail(Fault::input, "{}: is not an importance file of flashmoe calibrate", path);
  }
}

void Importance::another_model(const std::string& name, std::span<const int64_t> wanted) const {
  fail(Fault::input, "{}: has no {} of [{}]: it was made from another model", file_->path(), in_quotes(name),
       fmt::join(wanted, ", "));
}

const Importance::Entry* Importance::find(const std::string& name, std::span<const int64_t> shape) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return nullptr;
  if (!std::ranges::equal(found->second.shape, shape)) another_model(name, shape);
  return &found->second;
}

Extent Importance::of_tensor(const std::string& name, int64_t cols) const {
  if (!known()) return {};
  const Entry* entry = find(name, std::array{cols});
  if (entry == nullptr) return {};
  return {0, entry->offset, static_cast<uint64_t>(cols) * sizeof(float)};
}

Extent Importance::of_expert(int layer, std::string_view role, int expert, int64_t n_experts, int64_t cols) const {
  if (!known()) return {};
  const std::string name = fmt::format("layers.{}.experts.{}", layer, role == "down" ? "down" : "gate_up");
  const std::array shape = {n_experts, cols};
  const Entry* entry = find(name, shape);
  if (entry == nullptr) another_model(name, shape);
  const uint64_t bytes = static_cast<uint64_t>(cols) * sizeof(float);
  return {0, entry->offset + static_cast<uint64_t>(expert) * bytes, bytes};
}

void Importance::read(const Extent& extent, std::span<float> out) const {
  file_->read(extent.offset, std::as_writable_bytes(out));
  if (std::ranges::all_of(out, [](float value) { return std::isfinite(value) && value >= 0; })) return;
  fail(Fault::input, "{}: a number at {} is negative or not finite: damaged, calibrate anew", file_->path(),
       extent.offset);
}

nlohmann::ordered_json Importance::identity() const {
  if (!known()) return nullptr;
  return {{"bytes", file_->size()}, {"xxh3", show_checksum(checksum_of_file(*file_))}};
}

}  // namespace flashmoe
