#include "model/binder.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

// The shape without its unit dimensions: files disagree on [C, 1, 4], [C, 4, 1] and [C, 4].
std::vector<int64_t> squeezed(std::span<const int64_t> shape) {
  std::vector<int64_t> dims;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(dims), [](int64_t d) { return d != 1; });
  return dims;
}

// Part of a stacked tensor as a matrix on disk; `first_row` counts over the whole tensor.
ExpertMatrix slice(const TensorInfo& tensor, int64_t first_row, int64_t rows, int64_t cols) {
  const auto row_bytes = static_cast<uint64_t>(format_bytes(tensor.format, cols));
  return {rows, cols, tensor.format, tensor.file, tensor.offset + static_cast<uint64_t>(first_row) * row_bytes};
}

}  // namespace

const TensorInfo* Binder::require(const std::string& name, std::initializer_list<int64_t> shape) {
  const TensorInfo* tensor = checkpoint_.find(name);
  if (tensor == nullptr) {
    const auto& strange = checkpoint_.unsupported_tensors();
    const auto found = std::find_if(strange.begin(), strange.end(), [&](const auto& t) { return t.name == name; });
    if (found == strange.end()) {
      complaints_.push_back(fmt::format("{} is missing", name));
    } else {
      complaints_.push_back(fmt::format("{} has format {}, which this version does not run", name, found->format));
      unsupported_ = true;
    }
    return nullptr;
  }
  used_.insert(name);
  const std::span<const int64_t> wanted(shape.begin(), shape.size());
  if (squeezed(tensor->shape) != squeezed(wanted)) {
    complaints_.push_back(
        fmt::format("{} has shape [{}], expected [{}]", name, fmt::join(tensor->shape, ", "), fmt::join(wanted, ", ")));
    return nullptr;
  }
  return tensor;
}

const TensorInfo* Binder::require_matrix(const std::string& name, int64_t rows, int64_t cols) {
  const TensorInfo* tensor = require(name, {rows, cols});
  if (tensor != nullptr && cols % format_info(tensor->format).block_values != 0) {
    complaints_.push_back(fmt::format("{} has rows of {} values, not a multiple of {}'s block", name, cols,
                                      format_info(tensor->format).name));
    return nullptr;
  }
  return tensor;
}

void Binder::matrix(MatrixView& target, const std::string& name, int64_t rows, int64_t cols) {
  const TensorInfo* tensor = require_matrix(name, rows, cols);
  if (tensor == nullptr) return;
  target = {nullptr, rows, cols, tensor->format};
  matrices_.push_back({&target, tensor, {}});
}

void Binder::matrix_of_rows(MatrixView& target, const std::string& name, int64_t stored_rows, int64_t cols,
                            std::vector<RowPieces> pieces) {
  const TensorInfo* tensor = require_matrix(name, stored_rows, cols);
  if (tensor == nullptr) return;
  int64_t rows = 0;
  for (const RowPieces& p : pieces) {
    CHECK(p.first >= 0 && p.n > 0 && p.stride >= p.n && p.first + (p.times - 1) * p.stride + p.n <= stored_rows);
    rows += p.n * p.times;
  }
  target = {nullptr, rows, cols, tensor->format};
  matrices_.push_back({&target, tensor, std::move(pieces)});
}

void Binder::vector(std::span<const float>& target, const std::string& name, std::initializer_list<int64_t> shape,
                    Transform transform) {
  const TensorInfo* tensor = require(name, shape);
  if (tensor == nullptr) return;
  vectors_.push_back({&target, tensor, transform});
}

void Binder::stacked_experts(ExpertTable& table, const StackedNames& names, int64_t d_ff, int64_t d_model) {
  const TensorInfo* gate = require(names.gate, {table.n_experts, d_ff, d_model});
  const TensorInfo* up = require(names.up, {table.n_experts, d_ff, d_model});
  const TensorInfo* down = require(names.down, {table.n_experts, d_model, d_ff});
  if (gate == nullptr || up == nullptr || down == nullptr) return;
  for (int64_t e = 0; e < table.n_experts; ++e) {
    table.records.push_back({slice(*gate, e * d_ff, d_ff, d_model), slice(*up, e * d_ff, d_ff, d_model),
                             slice(*down, e * d_model, d_model, d_ff)});
  }
}

void Binder::fused_experts(ExpertTable& table, const std::string& gate_up, const std::string& down_name, int64_t d_ff,
                           int64_t d_model) {
  const TensorInfo* both = require(gate_up, {table.n_experts, 2 * d_ff, d_model});
  const TensorInfo* down = require(down_name, {table.n_experts, d_model, d_ff});
  if (both == nullptr || down == nullptr) return;
  for (int64_t e = 0; e < table.n_experts; ++e) {
    table.records.push_back({slice(*both, e * 2 * d_ff, d_ff, d_model), slice(*both, (e * 2 + 1) * d_ff, d_ff, d_model),
                             slice(*down, e * d_model, d_model, d_ff)});
  }
}

void Binder::single_experts(ExpertTable& table, const std::string& prefix, int64_t d_ff, int64_t d_model) {
  for (int e = 0; e < table.n_experts; ++e) {
    const TensorInfo* gate = require(fmt::format("{}{}.gate_proj.weight", prefix, e), {d_ff, d_model});
    const TensorInfo* up = require(fmt::format("{}{}.up_proj.weight", prefix, e), {d_ff, d_model});
    const TensorInfo* down = require(fmt::format("{}{}.down_proj.weight", prefix, e), {d_model, d_ff});
    if (gate == nullptr || up == nullptr || down == nullptr) continue;
    table.records.push_back(
        {slice(*gate, 0, d_ff, d_model), slice(*up, 0, d_ff, d_model), slice(*down, 0, d_model, d_ff)});
  }
}

void Binder::ignore(std::string_view prefix) { ignored_prefixes_.emplace_back(prefix); }

void Binder::throw_if_incomplete() const {
  if (complaints_.empty()) return;
  throw Error(unsupported_ ? Fault::unsupported : Fault::input,
              fmt::format("{}: {}", checkpoint_.path(), fmt::join(complaints_, "; ")));
}

std::vector<std::string> Binder::unused() const {
  std::vector<std::string> names;
  const auto note = [&](const std::string& name) {
    const bool ignored = std::any_of(ignored_prefixes_.begin(), ignored_prefixes_.end(),
                                     [&](const std::string& prefix) { return name.starts_with(prefix); });
    if (!ignored && !used_.contains(name)) names.push_back(name);
  };
  for (const auto& [name, tensor] : checkpoint_.tensors()) note(name);
  for (const auto& tensor : checkpoint_.unsupported_tensors()) note(tensor.name);
  return names;
}

}  // namespace flashmoe
