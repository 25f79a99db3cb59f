// Seeded inputs for kernels, and the one list of matmuls that the tests check and bench/kernels times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace flashmoe {

struct MatmulCase {
  Format format;
  int64_t rows, cols;
  int64_t n;                   // activation rows
  int64_t row_begin, row_end;  // the rows that are computed
  int shift;                   // bytes by which the weights miss a 64-byte boundary
  bool is_model_shape;         // occurs in a 35B model: timed as well, over all its rows
  ScaleGrid grid = {};         // of formats that keep their scales apart

  std::string name() const;  // "Q4_K 2048x512 n1 rows 3..97 +5"
};
const std::vector<MatmulCase>& matmul_cases();

// The tables this machine runs, scalar first.
std::vector<const KernelTable*> available_tables();

std::vector<float> random_floats(std::mt19937& random, int64_t n, float scale = 1.0f);

// Sets the scale of one block, and the minimum of formats that have one. MXFP4 takes the power of two above |scale|
// / 2.
void set_block_scales(Format format, float scale, float min, std::byte* block);

// Random valid weights: any bits in the quants, block scales near 0.01 of both signs.
class TestMatrix {
 public:
  TestMatrix(Format format, int64_t rows, int64_t cols, uint32_t seed, int shift = 0, const ScaleGrid& grid = {});
  TestMatrix(const TestMatrix&) = delete;
  const MatrixView& view() const { return view_; }

 private:
  std::vector<std::byte> bytes_, scales_, biases_;
  MatrixView view_;
};

// Activations with both forms, the int8 one by the scalar table. Columns that do not fill blocks have the f32 form
// only.
class TestActivations {
 public:
  TestActivations(int64_t n, int64_t cols, uint32_t seed);
  const Activations& all() const { return all_; }
  Activations row(int64_t i) const;

 private:
  std::vector<float> f32_, scale_, sum_;
  std::vector<int8_t> q8_;
  Activations all_;
};

}  // namespace flashmoe
