// Safetensors whose weights are quantised: config.json says how, and scales are tensors of their own.
#pragma once

#include "checkpoint/contents.h"

namespace flashmoe {

// Turns packed weights whose scales belong to them into tensors of one format, shape and grid of scales:
//   MLX: X.weight (U32) with X.scales, and X.biases in mode affine; bits and groups from "quantization", which may set
//        them for each X.
//   FP8: X (F8_E4M3) with X_scale_inv, a scale for each block of "quantization_config".weight_block_size.
// A tensor that does not fit stays unsupported, with the reason. Throws Error{unsupported} for other methods of
// quantisation, Error{input} for settings of the wrong kind.
void pair_scales(CheckpointContents& contents);

}  // namespace flashmoe
