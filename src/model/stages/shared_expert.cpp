#include "model/stages/shared_expert.h"

#include <cmath>

#include "model/matmul.h"

namespace flashmoe {

void shared_expert(Step& step, const SharedExpertWeights& w) {
  const Timed timed(step.profile, Stage::experts);
  auto& moe = step.ws.moe;
  const int64_t n = step.n(), d_ff = step.config.d_ff_shared;
  const Activations h = step.ws.h.rows(0, n);
  const MatmulTask in[] = {{w.gate, h, moe.shared_gate_proj.data(), d_ff},
                           {w.up, h, moe.shared_up_proj.data(), d_ff},
                           {w.mix, h, moe.shared_gate.data(), 1, true}};
  matmul(step, in);
  step.kernels.silu_mul(moe.shared_gate_proj.data(), moe.shared_up_proj.data(), n * d_ff, moe.shared_act.f32.data());
  quantise(step, moe.shared_act, 0, n);
  const MatmulTask out[] = {{w.down, moe.shared_act.rows(0, n), moe.shared_out.data(), step.config.d_model}};
  matmul(step, out);
  for (float& gate : moe.shared_gate.first(static_cast<size_t>(n))) gate = 1.0F / (1.0F + std::exp(-gate));
}

}  // namespace flashmoe
