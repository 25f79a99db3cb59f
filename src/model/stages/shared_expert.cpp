#include "model/stages/shared_expert.h"

#include "model/matmul.h"

namespace flashmoe {

SharedExpertTasks shared_expert_tasks(Step& step, const SharedExpertWeights& w) {
  auto& moe = step.ws.moe;
  const int64_t n = step.n();
  const Activations h = step.ws.h.rows(0, n);
  return {{w.gate, w.up, &step.ws.h, nullptr, n, &moe.shared_act, 0},
          {w.mix, h, moe.shared_gate.data(), 1, true},
          {w.down, moe.shared_act.rows(0, n), moe.shared_out.data(), step.config.d_model}};
}

void shared_expert(Step& step, const SharedExpertWeights& w) {
  const Timed timed(step.profile, Stage::experts);
  const SharedExpertTasks tasks = shared_expert_tasks(step, w);
  matmul(step, {&tasks.mix, 1}, {&tasks.gated, 1});
  matmul(step, {&tasks.down, 1});
}

}  // namespace flashmoe
