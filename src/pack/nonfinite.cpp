#include "pack/nonfinite.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

// Which value of the tensor, counted through all its dimensions, begins at `at`; nothing: none.
std::optional<int64_t> value_at(const TensorInfo& tensor, const Extent& at) {
  if (tensor.file != at.file || at.offset < tensor.offset) return std::nullopt;
  const auto n_matrices = tensor.stride > 0 ? static_cast<uint64_t>(tensor.shape.front()) : 1;
  const uint64_t matrix_bytes = tensor.bytes / n_matrices, offset = at.offset - tensor.offset;
  const uint64_t matrix = tensor.stride > 0 ? offset / tensor.stride : 0, within = offset - matrix * tensor.stride;
  if (matrix >= n_matrices || within >= matrix_bytes) return std::nullopt;
  const FormatInfo& format = format_info(tensor.format);
  const auto n_blocks =
      static_cast<int64_t>((matrix * matrix_bytes + within) / static_cast<uint64_t>(format.block_bytes));
  return n_blocks * format.block_values;
}

std::vector<int64_t> index_in(const std::vector<int64_t>& shape, int64_t value) {
  std::vector<int64_t> index(shape.size());
  for (size_t d = shape.size(); d-- > 0; value /= shape[d]) index[d] = value % shape[d];
  return index;
}

}  // namespace

void refuse_nonfinite(const Checkpoint& checkpoint, const Conversion& c, int64_t row, int64_t col, float value) {
  Extent at = c.from.parts[0];
  at.offset += static_cast<uint64_t>(row * format_bytes(c.from.format, c.from.cols));
  std::string place = in_quotes(c.name);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const auto first = value_at(tensor, at);
    if (!first) continue;
    place = fmt::format("{} holds {} at {}", in_quotes(name), value, index_in(tensor.shape, *first + col));
    if (name != c.name) place += fmt::format(", in {}", c.name);
  }
  fail(Fault::input, "{}: tensor {}; --allow-nonfinite packs it all the same", checkpoint.files()[at.file]->path(),
       place);
}

}  // namespace flashmoe
