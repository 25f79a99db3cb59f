#include "quant/encode.h"

#include "base/check.h"
#include "base/cpu_features.h"
#include "quant/encode/table.h"

namespace flashmoe {
namespace {

const EncoderTable& encoders(EncodeCode code) {
  static const EncoderTable baseline = baseline_encoders(), avx2 = avx2_encoders();
  return code == EncodeCode::avx2 ? avx2 : baseline;
}

bool is_here(EncodeCode code) { return code == EncodeCode::baseline || cpu_features().avx2; }

}  // namespace

bool can_encode(Format format) {
  return encoders(EncodeCode::baseline).rows[static_cast<size_t>(format_info(format).format)] != nullptr;
}

void encode_rows(Format format, const ScaleGrid& grid, const float* x, int64_t rows, int64_t cols,
                 const float* importance, const EncodedRows& to) noexcept {
  const EncodeCode best = is_here(EncodeCode::avx2) ? EncodeCode::avx2 : EncodeCode::baseline;
  encode_rows_with(best, format, grid, x, rows, cols, importance, to);
}

bool encode_rows_with(EncodeCode code, Format format, const ScaleGrid& grid, const float* x, int64_t rows, int64_t cols,
                      const float* importance, const EncodedRows& to) noexcept {
  if (!is_here(code)) return false;
  const FormatInfo& info = format_info(format);
  EncodeRow* const encode_row = encoders(code).rows[static_cast<size_t>(format)];
  CHECK(encode_row != nullptr && rows >= 0 && cols >= 0 && cols % info.block_values == 0);
  if (info.n_scale_matrices > 0) {
    CHECK(is_group_width(grid.group_cols));
    CHECK(cols % grid.group_cols == 0 && grid.group_rows == 1 && grid.type != ScaleType::e8m0);
  }
  const int64_t row_bytes = format_bytes(format, cols);
  const int64_t scale_row = info.n_scale_matrices > 0 ? scale_row_bytes(grid, cols) : 0;
  for (int64_t row = 0; row < rows; ++row) {
    encode_row(grid, x + row * cols, cols, importance, to.weights + row * row_bytes, to.scales + row * scale_row,
               to.biases + row * scale_row);
  }
  return true;
}

}  // namespace flashmoe
