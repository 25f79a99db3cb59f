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

// Rows [first_row, first_row + rows) of matrix `index` of a stacked tensor whose matrices have stack_rows rows each.
ExpertMatrix slice(const TensorInfo& tensor, int64_t index, int64_t stack_rows, int64_t first_row, int64_t rows,
                   int64_t cols) {
  ScaleGrid grid = tensor.grid;
  grid.first_row = static_cast<int32_t>((grid.first_row + first_row) % grid.group_rows);
  ExpertMatrix matrix = expert_matrix(rows, cols, tensor.format, grid);
  const auto place = [&](Extent& part, const Extent& whole, int64_t offset) {
    part.file = whole.file;
    part.offset = whole.offset + static_cast<uint64_t>(offset);
  };
  const auto stride = [&](int64_t bytes) {
    return index * (tensor.stride > 0 ? static_cast<int64_t>(tensor.stride) : bytes);
  };
  const int64_t row_bytes = format_bytes(tensor.format, cols);
  place(matrix.parts[0], {tensor.file, tensor.offset, tensor.bytes},
        stride(stack_rows * row_bytes) + first_row * row_bytes);
  const int64_t first_scale = stride(scale_matrix_bytes(tensor.grid, stack_rows, cols)) +
                              first_row / grid.group_rows * scale_row_bytes(grid, cols);
  if (matrix.parts[1].bytes > 0) place(matrix.parts[1], tensor.scales, first_scale);
  if (matrix.parts[2].bytes > 0) place(matrix.parts[2], tensor.biases, first_scale);
  return matrix;
}

// Of "name: reason", the names with the same reason together: hundreds of tensors may lack the same thing.
std::vector<std::string> merged(const std::vector<std::string>& complaints) {
  std::vector<std::pair<std::string, std::string>> groups;  // names, and what is wrong with them
  for (const std::string& complaint : complaints) {
    const size_t colon = complaint.find(": ");
    const std::string name = complaint.substr(0, colon);
    const std::string reason = colon == std::string::npos ? "" : complaint.substr(colon);
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const auto& group) { return !reason.empty() && group.second == reason; });
    if (same == groups.end()) {
      groups.emplace_back(name, reason);
    } else {
      same->first += ", " + name;
    }
  }
  std::vector<std::string> lines;
  for (const auto& [names, reason] : groups) lines.push_back(names + reason);
  return lines;
}

}  // namespace

const TensorInfo* Binder::require(const std::string& name, std::initializer_list<int64_t> shape) {
  const TensorInfo* tensor = checkpoint_.find(name);
  if (tensor == nullptr) {
    const UnsupportedTensor* found = checkpoint_.find_unsupported(name);
    if (found == nullptr) {
      complaints_.push_back(fmt::format("{} is missing", name));
    } else {
      complaints_.push_back(found->reason.empty()
                                ? fmt::format("{}: of format {}, which this version does not run", name, found->format)
                                : fmt::format("{}: {}", name, found->reason));
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
  // Unit dimensions do not count, but rows are rows: blocks and groups of scales run along them.
  const FormatInfo& info = format_info(tensor->format);
  const int64_t cols = wanted.empty() ? 1 : wanted.back();
  const bool is_plain = info.block_values == 1 && info.n_scale_matrices == 0;
  if (!is_plain && (cols % info.block_values != 0 || cols != tensor->shape.back())) {
    complaints_.push_back(fmt::format("{} [{}] has rows of {} values, which {} cannot hold as they stand in the file",
                                      name, fmt::join(wanted, ", "), cols, tensor->format_name()));
    return nullptr;
  }
  return tensor;
}

void Binder::matrix(MatrixView& target, const std::string& name, int64_t rows, int64_t cols, MatrixUse use) {
  const TensorInfo* tensor = require(name, {rows, cols});
  if (tensor == nullptr) return;
  target = {nullptr, rows, cols, tensor->format, tensor->grid};
  matrices_.push_back({&target, tensor, {}, use});
}

const Binder::MatrixRequest* Binder::rows() const {
  const auto found = std::find_if(matrices_.begin(), matrices_.end(),
                                  [](const MatrixRequest& request) { return request.use == MatrixUse::rows; });
  return found == matrices_.end() ? nullptr : &*found;
}

void Binder::matrix_of_rows(MatrixView& target, const std::string& name, int64_t stored_rows, int64_t cols,
                            std::vector<RowPieces> pieces) {
  const TensorInfo* tensor = require(name, {stored_rows, cols});
  if (tensor == nullptr) return;
  const int64_t group = tensor->grid.group_rows;  // rows that share scales stay together
  int64_t rows = 0;
  for (const RowPieces& p : pieces) {
    CHECK(p.first >= 0 && p.n > 0 && p.stride >= p.n && p.first + (p.times - 1) * p.stride + p.n <= stored_rows);
    if (p.first % group != 0 || p.n % group != 0 || (p.times > 1 && p.stride % group != 0)) {
      complaints_.push_back(
          fmt::format("{} is {}, whose blocks do not end where its parts end", name, tensor->format_name()));
      return;
    }
    rows += p.n * p.times;
  }
  target = {nullptr, rows, cols, tensor->format, tensor->grid};
  matrices_.push_back({&target, tensor, std::move(pieces), MatrixUse::products});
}

void Binder::vector(std::span<const float>& target, const std::string& name, std::initializer_list<int64_t> shape,
                    Transform transform) {
  const TensorInfo* tensor = require(name, shape);
  if (tensor == nullptr) return;
  if (format_info(tensor->format).n_scale_matrices > 0) {
    complaints_.push_back(fmt::format("{} is {}, expected plain numbers", name, tensor->format_name()));
    return;
  }
  vectors_.push_back({&target, tensor, transform});
}

void Binder::stacked_experts(ExpertTable& table, const StackedNames& names, int64_t d_ff, int64_t d_model) {
  const TensorInfo* gate = require(names.gate, {table.n_experts, d_ff, d_model});
  const TensorInfo* up = require(names.up, {table.n_experts, d_ff, d_model});
  const TensorInfo* down = require(names.down, {table.n_experts, d_model, d_ff});
  if (gate == nullptr || up == nullptr || down == nullptr) return;
  for (int64_t e = 0; e < table.n_experts; ++e) {
    table.records.push_back({slice(*gate, e, d_ff, 0, d_ff, d_model), slice(*up, e, d_ff, 0, d_ff, d_model),
                             slice(*down, e, d_model, 0, d_model, d_ff)});
    if (gate->checksums) table.records.back().checksum = gate->checksums->at(static_cast<size_t>(e));
  }
}

void Binder::fused_experts(ExpertTable& table, const std::string& gate_up, const std::string& down_name, int64_t d_ff,
                           int64_t d_model) {
  const TensorInfo* both = require(gate_up, {table.n_experts, 2 * d_ff, d_model});
  const TensorInfo* down = require(down_name, {table.n_experts, d_model, d_ff});
  if (both == nullptr || down == nullptr) return;
  for (int64_t e = 0; e < table.n_experts; ++e) {
    table.records.push_back({slice(*both, e, 2 * d_ff, 0, d_ff, d_model),
                             slice(*both, e, 2 * d_ff, d_ff, d_ff, d_model),
                             slice(*down, e, d_model, 0, d_model, d_ff)});
  }
}

void Binder::single_experts(ExpertTable& table, const std::string& prefix, int64_t d_ff, int64_t d_model) {
  for (int e = 0; e < table.n_experts; ++e) {
    const TensorInfo* gate = require(fmt::format("{}{}.gate_proj.weight", prefix, e), {d_ff, d_model});
    const TensorInfo* up = require(fmt::format("{}{}.up_proj.weight", prefix, e), {d_ff, d_model});
    const TensorInfo* down = require(fmt::format("{}{}.down_proj.weight", prefix, e), {d_model, d_ff});
    if (gate == nullptr || up == nullptr || down == nullptr) continue;
    table.records.push_back({slice(*gate, 0, d_ff, 0, d_ff, d_model), slice(*up, 0, d_ff, 0, d_ff, d_model),
                             slice(*down, 0, d_model, 0, d_model, d_ff)});
  }
}

void Binder::ignore(std::string_view prefix, const char* what) { ignored_.push_back({std::string(prefix), what}); }

void Binder::throw_if_incomplete() const {
  if (complaints_.empty()) return;
  throw Error(unsupported_ ? Fault::unsupported : Fault::input,
              fmt::format("{}: {}", checkpoint_.path(), fmt::join(merged(complaints_), "; ")));
}

const char* Binder::why_ignored(std::string_view name) const {
  const auto found = std::find_if(ignored_.begin(), ignored_.end(),
                                  [&](const Ignored& ignored) { return name.starts_with(ignored.prefix); });
  return found == ignored_.end() ? nullptr : found->what;
}

void Binder::each_left(const std::function<void(const std::string&, uint64_t)>& take) const {
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (!used_.contains(name)) take(name, tensor.all_bytes());
  }
  for (const auto& tensor : checkpoint_.unsupported_tensors()) {
    if (!used_.contains(tensor.name)) take(tensor.name, tensor.bytes);
  }
}

std::map<std::string, uint64_t> Binder::ignored() const {
  std::map<std::string, uint64_t> bytes_of;
  each_left([&](const std::string& name, uint64_t bytes) {
    if (const char* what = why_ignored(name)) bytes_of[what] += bytes;
  });
  return bytes_of;
}

Binder::Unused Binder::unused() const {
  Unused unused;
  each_left([&](const std::string& name, uint64_t bytes) {
    if (why_ignored(name) != nullptr) return;
    unused.names.push_back(name);
    unused.bytes += bytes;
  });
  return unused;
}

}  // namespace flashmoe
