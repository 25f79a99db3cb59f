// Stage 4 in most layers: Gated DeltaNet, h -> x += out_proj(...), with a fixed-size state per sequence.
// Source of the formula: the Qwen3.5 / Qwen3-Next reference, in docs/one-token.md.
#pragma once

#include "model/step.h"

namespace flashmoe {

struct DeltaNetWeights {
  int slot = 0;                    // counts delta-net layers: which part of DeltaState is this layer's
  MatrixView qkv;                  // [conv_channels, d_model], outputs [q | k | v]
  MatrixView z;                    // [value_width, d_model]
  MatrixView beta, alpha;          // [n_value_heads, d_model]
  MatrixView out;                  // [d_model, value_width]
  std::span<const float> conv;     // [conv_channels, 4], newest tap last
  std::span<const float> dt_bias;  // [n_value_heads]
  std::span<const float> neg_a;    // [n_value_heads] -exp(A_log)
  std::span<const float> norm;     // [d_value]
};

void delta_net(Step& step, const DeltaNetWeights& w);

}  // namespace flashmoe
