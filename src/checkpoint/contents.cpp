#include "checkpoint/contents.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

void check_bounds(const File& file, const std::vector<ListedTensor>& listed) {
  uint64_t end = 0;
  const ListedTensor* last = nullptr;
  for (const ListedTensor& tensor : listed) {
    const std::optional<uint64_t> its_end = checked_add(tensor.offset, tensor.bytes.value_or(0));
    if (!its_end) {
      fail(Fault::input, "{}: tensor {} lies at offset {}, beyond any file: the header is damaged", file.path(),
           in_quotes(tensor.name), tensor.offset);
    }
    if (*its_end < end) continue;
    end = *its_end;
    last = &tensor;
  }
  if (end <= file.size()) return;
  fail(Fault::input, "{}: truncated: {} bytes are missing ({} there, tensor {} ends at {}); fetch the file again",
       file.path(), end - file.size(), file.size(), in_quotes(last->name), end);
}

void check_overlap(const File& file, const std::vector<ListedTensor>& listed) {
  std::vector<const ListedTensor*> by_offset;
  by_offset.reserve(listed.size());
  for (const ListedTensor& tensor : listed) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const ListedTensor* a, const ListedTensor* b) {
    return a->offset != b->offset ? a->offset < b->offset : a->bytes.value_or(0) < b->bytes.value_or(0);
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const ListedTensor& before = *by_offset[i - 1];
    const ListedTensor& after = *by_offset[i];
    const bool same_start = before.offset == after.offset;
    if (!same_start && before.offset + before.bytes.value_or(0) <= after.offset) continue;
    fail(Fault::input, "{}: tensors {} and {} overlap at offset {}: the header is damaged", file.path(),
         in_quotes(before.name), in_quotes(after.name), after.offset);
  }
}

}  // namespace

uint64_t packed_bytes(const File& file, const ListedTensor& tensor, Packing packing) {
  uint64_t n_values = 1;
  for (const int64_t dim : tensor.shape) {
    if (dim < 1) {
      fail(Fault::input, "{}: tensor {} has a dimension of {}: at least 1 was expected", file.path(),
           in_quotes(tensor.name), dim);
    }
    const std::optional<uint64_t> product = checked_mul(n_values, static_cast<uint64_t>(dim));
    if (!product || *product > static_cast<uint64_t>(INT64_MAX)) {
      fail(Fault::input, "{}: tensor {} has dimensions [{}], more values than 64 bits count: the header is damaged",
           file.path(), in_quotes(tensor.name), fmt::join(tensor.shape, ", "));
    }
    n_values = *product;
  }
  const uint64_t row = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
  if (row % packing.values != 0) {
    fail(Fault::input, "{}: tensor {} has rows of {} values, {} needs a multiple of {}", file.path(),
         in_quotes(tensor.name), row, tensor.format_name, packing.values);
  }
  const std::optional<uint64_t> bytes = checked_mul(n_values / packing.values, packing.bytes);
  if (!bytes || *bytes > static_cast<uint64_t>(INT64_MAX)) {
    fail(Fault::input, "{}: tensor {} has dimensions [{}], more bytes than 64 bits count: the header is damaged",
         file.path(), in_quotes(tensor.name), fmt::join(tensor.shape, ", "));
  }
  return *bytes;
}

void add_file(CheckpointContents& contents, std::shared_ptr<File> file, std::vector<ListedTensor> listed) {
  check_bounds(*file, listed);
  check_overlap(*file, listed);
  const auto index = static_cast<uint32_t>(contents.files.size());
  for (ListedTensor& tensor : listed) {
    if (!tensor.format) {
      contents.unsupported.push_back({std::move(tensor.name),
                                      std::move(tensor.format_name),
                                      tensor.bytes.value_or(0),
                                      {},
                                      std::move(tensor.shape),
                                      index,
                                      tensor.offset});
      continue;
    }
    const auto [place, is_new] = contents.tensors.try_emplace(tensor.name, TensorInfo{tensor.name,
                                                                                      *tensor.format,
                                                                                      std::move(tensor.shape),
                                                                                      index,
                                                                                      tensor.offset,
                                                                                      *tensor.bytes,
                                                                                      {},
                                                                                      {},
                                                                                      {},
                                                                                      0,
                                                                                      {}});
    if (is_new) continue;
    const uint32_t first = place->second.file;
    fail(Fault::input, "{}: tensor {} is there twice{}{}: one of them must go", file->path(), in_quotes(tensor.name),
         first < index ? ", first in " : "", first < index ? contents.files[first]->path() : std::string());
  }
  contents.files.push_back(std::move(file));
}

}  // namespace flashmoe
