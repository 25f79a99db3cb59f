// The encoders of one instruction set.
#pragma once

#include "quant/format.h"

namespace flashmoe {

// One row; parameters as in encode_rows (quant/encode.h).
using EncodeRow = void(const ScaleGrid& grid, const float* x, int64_t cols, const float* importance, std::byte* weights,
                       std::byte* scales, std::byte* biases) noexcept;

struct EncoderTable {
  EncodeRow* rows[kFormatCount] = {};  // null: the format cannot be encoded
};

EncoderTable baseline_encoders() noexcept;
EncoderTable avx2_encoders() noexcept;  // compiled for other processors: the baseline's

}  // namespace flashmoe
