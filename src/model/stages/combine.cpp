#include "model/stages/combine.h"

#include <cmath>

#include "model/matmul.h"

namespace flashmoe {

void combine(Step& step) {
  const Timed timed(step.profile, Stage::experts);
  const auto& moe = step.ws.moe;
  const int64_t d_model = step.config.d_model, k = step.config.n_experts_used;
  step.pool.parallel_for(step.n(), grain_for((k + 1) * d_model), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* x = step.ws.x.data() + row * d_model;
      for (int64_t j = 0; j < k; ++j) {
        const auto pick = static_cast<size_t>(row * k + j);
        step.kernels.add_scaled(moe.out.data() + moe.slot_of[pick] * moe.slot_width, moe.weights[pick], d_model, x);
      }
      if (step.config.d_ff_shared == 0) continue;
      const float weight = 1.0F / (1.0F + std::exp(-moe.shared_gate[static_cast<size_t>(row)]));
      step.kernels.add_scaled(moe.shared_out.data() + row * d_model, weight, d_model, x);
    }
  });
}

}  // namespace flashmoe
