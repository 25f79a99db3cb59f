// From floats to blocks: the other way round of FormatInfo::decode.
//
// Scales are searched for the least squared error that the stored bytes decode to, each column's error weighted by its
// importance (docs/decisions/0013-searched-scales.md). The same values give the same bytes on every machine, with every
// instruction set, whatever the other rows are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace flashmoe {

// F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K, IQ4_XS, IQ4_NL, Q4_0, MXFP4, affine8, affine4, affine3, affine2.
bool can_encode(Format format);

// Where encoded rows go.
struct EncodedRows {
  std::byte* weights;           // format_bytes(format, rows * cols)
  std::byte* scales = nullptr;  // scale_matrix_bytes(grid, rows, cols); not touched by formats without them
  std::byte* biases = nullptr;  // the same
};

// Encodes x [rows, cols], rows independent of each other. `cols` is a multiple of the format's block_values and, where
// scales are kept apart, of grid.group_cols (32, 64 or 128), with one row of scales per row of weights.
// `importance` [cols] weighs the columns' squared errors: finite, none negative; null: all alike.
// Values are finite and at most 1e38; what a format cannot reach is stored as the nearest it can. (NaN: floats keep it;
// blocks with one are unspecified.)
void encode_rows(Format format, const ScaleGrid& grid, const float* x, int64_t rows, int64_t cols,
                 const float* importance, const EncodedRows& to) noexcept;

// For tests: the same with the given instruction set's code; false where this machine lacks it.
enum class EncodeCode : uint8_t { baseline, avx2 };
bool encode_rows_with(EncodeCode code, Format format, const ScaleGrid& grid, const float* x, int64_t rows, int64_t cols,
                      const float* importance, const EncodedRows& to) noexcept;

}  // namespace flashmoe
