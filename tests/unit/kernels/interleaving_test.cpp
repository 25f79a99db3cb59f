#include "kernels/interleaving.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

constexpr float kUntouched = -12345.5f;

class InterleavedMatrices : public testing::TestWithParam<const KernelTable*> {
 protected:
  ThreadPool pool_{2};
};

// Of formats that keep scales apart: other types and groups with other shapes.
ScaleGrid grid_for(Format format, int64_t cols) {
  if (n_scale_matrices(format) == 0) return {};
  if (n_scale_matrices(format) == 1) return {ScaleType::e8m0, 1, 32, 0};
  if (cols == 256) return {ScaleType::f32, 1, 64, 0};
  if (cols == 512) return {ScaleType::f16, 1, 32, 0};
  return {ScaleType::bf16, 1, cols == 1280 ? 128 : 64, 0};
}

// Whatever the number of rows and the range, which begins at a multiple of 16; weights may lie anywhere.
TEST_P(InterleavedMatrices, GiveTheBitsOfRows) {
  struct Shape {
    int64_t rows, cols;
  };
  constexpr int64_t kMostRows = 35;
  for (int f = 0; f < kFormatCount; ++f) {
    const auto format = static_cast<Format>(f);
    const bool has_entry = GetParam()->interleave[f] != nullptr;
    ASSERT_EQ(has_entry, GetParam()->matmul_interleaved[f] != nullptr);
    for (const Shape& shape : {Shape{16, 256}, Shape{48, 512}, Shape{80, 1280}, Shape{32, kMostInterleavedCols}}) {
      if (!has_entry) continue;
      const TestMatrix w(format, shape.rows, shape.cols, 7, 1, grid_for(format, shape.cols));
      std::vector<std::byte> bytes(static_cast<size_t>(w.view().rows * w.view().row_bytes()) + 1);
      std::memcpy(&bytes[1], w.view().data, bytes.size() - 1);
      MatrixView rearranged = w.view();
      rearranged.data = &bytes[1];
      const auto scale_bytes = static_cast<size_t>(scale_matrix_bytes(w.view().grid, shape.rows, shape.cols));
      const auto copy = [scale_bytes](const std::byte* from) {
        return from == nullptr ? std::vector<std::byte>() : std::vector<std::byte>(from, from + scale_bytes);
      };
      std::vector<std::byte> scales = copy(w.view().scales), biases = copy(w.view().biases);
      if (!scales.empty()) rearranged.scales = scales.data();
      if (!biases.empty()) rearranged.biases = biases.data();
      const Interleaving one[] = {{&rearranged, &bytes[1], scales.data(), biases.data()}};
      interleave(*GetParam(), one, pool_);
      ASSERT_TRUE(rearranged.interleaved);
      const int64_t most = shape.cols > 2048 ? 25 : kMostRows;
      const TestActivations x(most, shape.cols, 13);
      for (const int64_t n :
           {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{5}, int64_t{6}, int64_t{13}, int64_t{24}, most}) {
        Activations some = x.row(most - n);
        some.n = n;
        for (const int64_t begin : {int64_t{0}, shape.rows - 16}) {
          for (const int64_t end : {shape.rows, shape.rows - 3, shape.rows - 13}) {
            std::vector<float> want(static_cast<size_t>(n * shape.rows), kUntouched), got = want;
            matmul_for(*GetParam(), w.view(), false)(w.view(), some, want.data(), shape.rows, begin, end);
            matmul_for(*GetParam(), rearranged, false)(rearranged, some, got.data(), shape.rows, begin, end);
            ASSERT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * sizeof(float)))
                << format_info(format).name << " " << shape.rows << "x" << shape.cols << ", " << n << " rows, " << begin
                << " to " << end;
          }
        }
      }
    }
  }
}

TEST_P(InterleavedMatrices, HaveNoOtherShapes) {
  for (int f = 0; f < kFormatCount; ++f) {
    const auto format = static_cast<Format>(f);
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{15, 512}, {24, 256}, {16, kMostInterleavedCols + 256}}) {
      const TestMatrix w(format, rows, cols, 7, 0, grid_for(format, cols));
      std::vector<std::byte> bytes(w.view().data, w.view().data + rows * w.view().row_bytes());
      MatrixView same = w.view();
      const Interleaving one[] = {{&same, bytes.data()}};
      interleave(*GetParam(), one, pool_);
      EXPECT_FALSE(same.interleaved);
      EXPECT_EQ(0, std::memcmp(bytes.data(), w.view().data, bytes.size()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, InterleavedMatrices, testing::ValuesIn(available_tables()),
                         [](const auto& param) { return param.param->name; });

}  // namespace
}  // namespace flashmoe
