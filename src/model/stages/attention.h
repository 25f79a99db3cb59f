// Stage 4 in full-attention layers: grouped-query attention with per-head norms, rotary embedding of some or all
// dimensions and, where the model has one, a sigmoid gate on the output; h -> x += o_proj(...), with keys and values
// kept per sequence.
#pragma once

#include "model/step.h"

namespace flashmoe {

struct AttentionWeights {
  int slot = 0;                           // counts attention layers: which part of KvCache is this layer's
  MatrixView q;                           // [n_heads * q_stride, d_model], outputs per head [q | gate] or [q]
  MatrixView k, v;                        // [n_kv_heads * d_head, d_model]
  MatrixView out;                         // [d_model, n_heads * d_head]
  std::span<const float> q_norm, k_norm;  // [d_head]
};

// `last`: of the layers; the step then narrows to its wanted rows.
void attention(Step& step, const AttentionWeights& w, bool last);

// Angles of the batch's positions, once per step: ws.rope_cos, rope_sin [n, rotary_dims / 2].
void prepare_rope(Step& step);

}  // namespace flashmoe
