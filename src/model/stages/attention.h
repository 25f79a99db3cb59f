// Stage 4 in full-attention layers: grouped-query attention with per-head norms, partial rotary embedding and a
// sigmoid gate on the output; h -> x += o_proj(...), with keys and values kept per sequence.
#pragma once

#include "model/step.h"

namespace flashmoe {

struct AttentionWeights {
  int slot = 0;                           // counts attention layers: which part of KvCache is this layer's
  MatrixView q_gate;                      // [n_heads * 2 d_head, d_model], outputs per head [q | gate]
  MatrixView k, v;                        // [n_kv_heads * d_head, d_model]
  MatrixView out;                         // [d_model, n_heads * d_head]
  std::span<const float> q_norm, k_norm;  // [d_head]
};

void attention(Step& step, const AttentionWeights& w);

// Angles of the batch's positions, once per step: ws.rope_cos, rope_sin [n, rotary_dims / 2].
void prepare_rope(Step& step);

}  // namespace flashmoe
