// All encoders as one table, for an instruction set's own source to include.
#pragma once

#include "quant/encode/scales_and_mins.h"
#include "quant/encode/scales_apart.h"
#include "quant/encode/signed_scales.h"
#include "quant/encode/single_scale.h"
#include "quant/encode/table.h"

namespace flashmoe {

// One row of each kind; parameters as in encode_rows.
template <typename Block>
static inline void encode_blocks(const ScaleGrid&, const float* x, int64_t cols, const float* importance,
                                 std::byte* weights, std::byte*, std::byte*) noexcept {
  BlockValues<Block::kValues> values;
  for (int64_t i = 0; i < cols; i += Block::kValues, weights += sizeof(Block)) {
    take_values(x + i, importance == nullptr ? nullptr : importance + i, Block::kValues, values);
    Block block;
    encode_block(values, block);
    std::memcpy(weights, &block, sizeof(block));
  }
}

static inline void encode_f32(const ScaleGrid&, const float* x, int64_t cols, const float*, std::byte* weights,
                              std::byte*, std::byte*) noexcept {
  std::memcpy(weights, x, static_cast<size_t>(cols) * sizeof(float));
}

static inline void encode_f16(const ScaleGrid&, const float* x, int64_t cols, const float*, std::byte* weights,
                              std::byte*, std::byte*) noexcept {
  for (int64_t i = 0; i < cols; ++i) {
    const float v = x[i] > 65504.0f ? 65504.0f : x[i] < -65504.0f ? -65504.0f : x[i];
    const uint16_t half = f32_to_f16(v);
    std::memcpy(weights + i * 2, &half, sizeof(half));
  }
}

static inline void encode_bf16(const ScaleGrid&, const float* x, int64_t cols, const float*, std::byte* weights,
                               std::byte*, std::byte*) noexcept {
  constexpr float kMost = 0x1.fep127f;
  for (int64_t i = 0; i < cols; ++i) {
    const float v = x[i] > kMost ? kMost : x[i] < -kMost ? -kMost : x[i];
    const uint16_t upper = f32_to_bf16(v);
    std::memcpy(weights + i * 2, &upper, sizeof(upper));
  }
}

static inline void set_encoders(EncoderTable& table) noexcept {
  const auto set = [&](Format format, EncodeRow* row) { table.rows[static_cast<size_t>(format)] = row; };
  set(Format::f32, encode_f32);
  set(Format::f16, encode_f16);
  set(Format::bf16, encode_bf16);
  set(Format::q8_0, encode_blocks<BlockQ8_0>);
  set(Format::q6_k, encode_blocks<BlockQ6_K>);
  set(Format::q5_k, encode_blocks<BlockQ5_K>);
  set(Format::q4_k, encode_blocks<BlockQ4_K>);
  set(Format::q3_k, encode_blocks<BlockQ3_K>);
  set(Format::q2_k, encode_blocks<BlockQ2_K>);
  set(Format::iq4_xs, encode_blocks<BlockIQ4_XS>);
  set(Format::iq4_nl, encode_blocks<BlockIQ4_NL>);
  set(Format::q4_0, encode_blocks<BlockQ4_0>);
  set(Format::mxfp4, encode_blocks<BlockMXFP4>);
  set(Format::affine8, encode_affine<8>);
  set(Format::affine4, encode_affine<4>);
  set(Format::affine3, encode_affine<3>);
  set(Format::affine2, encode_affine<2>);
}

}  // namespace flashmoe
