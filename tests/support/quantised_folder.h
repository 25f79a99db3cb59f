// Copies of a model whose weights are quantised with scales kept apart.
#pragma once

#include <string>

#include "quant/format.h"

namespace flashmoe {

struct FolderQuantisation {
  Format format = Format::affine4;  // affine, mxfp4_split: an MLX folder; fp8_e4m3: a Hugging Face one
  ScaleGrid grid = {ScaleType::bf16, 1, 32, 0};
  Format routers = Format::affine8;  // MLX: of routers and shared experts' gates, by an override; f32: not quantised
  std::string prefix = "language_model.";  // MLX: before every name
  bool zero_centred = true;                // the source's norms; MLX holds 1 + w
};

// Reads an F32 Hugging Face folder with stacked or single experts (MLX: stacked) and writes two folders: the same model
// quantised, and in the layout of the source the values that this leaves.
void write_quantised(const std::string& source, const FolderQuantisation& how, const std::string& quantised,
                     const std::string& plain);

}  // namespace flashmoe
