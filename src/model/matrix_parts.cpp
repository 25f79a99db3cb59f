#include "model/matrix_parts.h"

namespace flashmoe {

std::array<MatrixPart, 3> parts_of(const Binder::MatrixRequest& request) {
  const TensorInfo& tensor = *request.tensor;
  const MatrixView& w = *request.target;
  const int64_t scales = scale_row_bytes(w.grid, w.cols);
  const auto bytes = static_cast<uint64_t>(scale_matrix_bytes(w.grid, w.rows, w.cols));
  return {
      {{{tensor.file, tensor.offset, tensor.bytes}, w.row_bytes(), 1, static_cast<uint64_t>(w.rows * w.row_bytes())},
       {tensor.scales, scales, w.grid.group_rows, tensor.scales.bytes > 0 ? bytes : 0},
       {tensor.biases, scales, w.grid.group_rows, tensor.biases.bytes > 0 ? bytes : 0}}};
}

}  // namespace flashmoe
