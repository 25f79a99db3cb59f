// Stage 8, the part that every token takes: down(silu(gate h) * up h), and its sigmoid gate.
#pragma once

#include "model/step.h"

namespace flashmoe {

struct SharedExpertWeights {
  MatrixView gate, up;  // [d_ff_shared, d_model]
  MatrixView down;      // [d_model, d_ff_shared]
  MatrixView mix;       // [1, d_model]: the logit of the expert's weight
};

// What it computes, for those who run it beside other work: first `gated` with `mix`, then `down`.
struct SharedExpertTasks {
  GatedTask gated;  // ws.moe.shared_act
  MatmulTask mix;   // ws.moe.shared_gate [n], the logit
  MatmulTask down;  // ws.moe.shared_out [n, d_model]
};
SharedExpertTasks shared_expert_tasks(Step& step, const SharedExpertWeights& w);

// All of it.
void shared_expert(Step& step, const SharedExpertWeights& w);

}  // namespace flashmoe
