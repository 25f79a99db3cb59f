// What of a matrix lies where in its file: weights, and scales and biases where the format keeps them apart.
#pragma once

#include <array>

#include "model/binder.h"

namespace flashmoe {

struct MatrixPart {
  Extent stored;
  int64_t row_bytes = 0;
  int64_t group_rows = 1;  // rows of the matrix that share one of these
  uint64_t bytes = 0;      // that are wanted; 0: the format has no such part
};

// Weights, scales, biases.
std::array<MatrixPart, 3> parts_of(const Binder::MatrixRequest& request);

}  // namespace flashmoe
