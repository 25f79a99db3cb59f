#include "pack/trunk_layout.h"

#include <algorithm>

#include "base/bytes.h"
#include "checkpoint/packed_folder.h"

namespace flashmoe {

TrunkLayout lay_out_trunk(const PackSource& source) {
  TrunkLayout layout;
  constexpr uint32_t kBytesType = 24;  // I8
  const auto scale_entry = [&](const TrunkTensor& tensor, const std::string& name, uint64_t bytes) {
    const ScaleType type = tensor.matrix.to.grid.type;
    const uint32_t id = type == ScaleType::f32    ? 0
                        : type == ScaleType::f16  ? 1
                        : type == ScaleType::bf16 ? 30
                                                  : kBytesType;
    const auto n = static_cast<int64_t>(bytes) / scale_bytes(type);
    return GgufEntry{name, {n}, id, bytes, 0};
  };
  std::vector<GgufEntry> entries;
  std::vector<std::array<size_t, kMatrixParts>> index;
  for (const TrunkTensor& tensor : source.trunk()) {
    const PackedMatrix& to = tensor.matrix.to;
    index.push_back({entries.size(), 0, 0});
    if (tensor.raw_type) {
      entries.push_back({tensor.name, tensor.shape, *tensor.raw_type, tensor.matrix.from.bytes(), 0});
      continue;
    }
    const auto parts = to.part_bytes();
    GgufEntry entry{tensor.name, tensor.shape, format_info(to.format).gguf_type, parts[0], 0};
    if (n_scale_matrices(to.format) > 0) {
      entry.type = kBytesType;
      entry.shape.back() = format_bytes(to.format, to.cols);
    }
    entries.push_back(std::move(entry));
    if (parts[1] > 0)
      index.back()[1] = entries.size(), entries.push_back(scale_entry(tensor, scales_name(tensor.name), parts[1]));
    if (parts[2] > 0)
      index.back()[2] = entries.size(), entries.push_back(scale_entry(tensor, biases_name(tensor.name), parts[2]));
  }
  layout.header = lay_out_gguf(source.metadata(), entries);
  for (const auto& of : index) {
    layout.at.push_back({entries[of[0]].offset, entries[of[1]].offset, entries[of[2]].offset});
  }
  layout.bytes = entries.empty() ? layout.header.size() : round_up(entries.back().offset + entries.back().bytes, 32);
  return layout;
}

namespace {

// What is copied whatever it is.
Task raw_task(const Conversion& whole, const std::array<uint64_t, kMatrixParts>& at) {
  Task task{whole, at};
  const auto n = static_cast<int64_t>(whole.from.bytes());
  task.matrix.from = expert_matrix(1, n, Format::fp8_e4m3, {});
  task.matrix.from.parts = whole.from.parts;
  task.matrix.to = {Format::fp8_e4m3, {}, 1, n};
  task.matrix.raw = true;
  return task;
}

// Rows [row, row + n) of what is packed as `whole`, without their place in the source.
Task task_of_rows(const Conversion& whole, const std::array<uint64_t, kMatrixParts>& at, int64_t row, int64_t n) {
  Task task{whole, at};
  PackedMatrix& to = task.matrix.to;
  to.rows = n;
  task.at[0] += static_cast<uint64_t>(row * format_bytes(to.format, to.cols));
  for (size_t p = 1; p < kMatrixParts; ++p)
    task.at[p] += static_cast<uint64_t>(row * scale_row_bytes(to.grid, to.cols));
  return task;
}

void add_stack(const TrunkTensor& tensor, const std::array<uint64_t, kMatrixParts>& at, std::vector<Task>& tasks) {
  int64_t row = 0;
  for (const ExpertMatrix& matrix : tensor.stack) {
    tasks.push_back(task_of_rows(tensor.matrix, at, row, matrix.rows));
    tasks.back().matrix.from = matrix;
    row += matrix.rows;
  }
}

void add_pieces(const Conversion& whole, const std::array<uint64_t, kMatrixParts>& at, uint64_t most_bytes,
                std::vector<Task>& tasks) {
  const int64_t row_bytes = format_bytes(whole.from.format, whole.from.cols);
  const int64_t scale_bytes = scale_row_bytes(whole.from.grid, whole.from.cols);
  const auto all_bytes = std::max<int64_t>(1, static_cast<int64_t>(whole.from.bytes() + whole.to.bytes()));
  const auto importance_bytes = static_cast<int64_t>(whole.importance.bytes);
  // Rows that share scales stay together.
  const bool whole_only = whole.from.grid.group_rows > 1;
  const int64_t step =
      whole_only
          ? whole.from.rows
          : std::max<int64_t>(1, (static_cast<int64_t>(most_bytes) - importance_bytes) * whole.from.rows / all_bytes);
  for (int64_t row = 0; row < whole.from.rows; row += step) {
    const int64_t n = std::min(step, whole.from.rows - row);
    Task& task = tasks.emplace_back(task_of_rows(whole, at, row, n));
    ExpertMatrix& from = task.matrix.from;
    from = expert_matrix(n, whole.from.cols, whole.from.format, whole.from.grid);
    for (size_t p = 0; p < kMatrixParts; ++p) {
      const Extent& stored = whole.from.parts[p];
      from.parts[p].file = stored.file;
      from.parts[p].offset = stored.offset + static_cast<uint64_t>(row * (p > 0 ? scale_bytes : row_bytes));
      if (whole_only) from.parts[p].bytes = stored.bytes;
    }
  }
}

}  // namespace

std::vector<Task> trunk_tasks(const PackSource& source, const TrunkLayout& layout, uint64_t most_bytes) {
  std::vector<Task> tasks;
  for (size_t i = 0; i < source.trunk().size(); ++i) {
    const TrunkTensor& tensor = source.trunk()[i];
    if (tensor.raw_type) {
      tasks.push_back(raw_task(tensor.matrix, layout.at[i]));
    } else if (!tensor.stack.empty()) {
      add_stack(tensor, layout.at[i], tasks);
    } else {
      add_pieces(tensor.matrix, layout.at[i], most_bytes, tasks);
    }
  }
  return tasks;
}

}  // namespace flashmoe
