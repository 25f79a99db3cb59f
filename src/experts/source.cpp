#include "experts/source.h"

#include <algorithm>

namespace flashmoe {

ExpertMatrix expert_matrix(int64_t rows, int64_t cols, Format format, const ScaleGrid& grid) {
  ExpertMatrix matrix = {rows, cols, format, grid};
  matrix.parts[0].bytes = static_cast<uint64_t>(rows * format_bytes(format, cols));
  for (int i = 1; i <= n_scale_matrices(format); ++i) {
    matrix.parts[static_cast<size_t>(i)].bytes = static_cast<uint64_t>(scale_matrix_bytes(grid, rows, cols));
  }
  return matrix;
}

uint64_t ExpertTable::bytes() const {
  uint64_t sum = 0;
  for (const ExpertRecord& record : records) sum += record.bytes();
  return sum;
}

bool ExpertTable::reads_float_activations() const {
  const auto is_float = [](const ExpertMatrix& m) { return format_info(m.format).is_float; };
  return std::any_of(records.begin(), records.end(), [&](const ExpertRecord& record) {
    return is_float(record.gate) || is_float(record.up) || is_float(record.down);
  });
}

}  // namespace flashmoe
