// Stage 8, the part that every token takes: down(silu(gate h) * up h), and its sigmoid gate.
#pragma once

#include "model/step.h"

namespace flashmoe {

struct SharedExpertWeights {
  MatrixView gate, up;  // [d_ff_shared, d_model]
  MatrixView down;      // [d_model, d_ff_shared]
  MatrixView mix;       // [1, d_model]: the logit of the expert's weight
};

// ws.moe.shared_out [n, d_model] and ws.moe.shared_gate [n] (the weight, after the sigmoid).
void shared_expert(Step& step, const SharedExpertWeights& w);

}  // namespace flashmoe
