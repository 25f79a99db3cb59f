#include "model/stages/norm.h"

#include "model/matmul.h"

namespace flashmoe {

void norm(Step& step, Stage stage, std::span<const float> weight) {
  const Timed timed(step.profile, stage);
  const int64_t d = step.config.d_model;
  step.pool.parallel_for(step.n(), grain_for(d * 2), [&](int64_t begin, int64_t end) {
    step.kernels.rmsnorm(step.ws.x.data() + begin * d, weight.data(), end - begin, d, step.config.norm_eps,
                         step.ws.h.f32.data() + begin * d);
  });
  quantise(step, step.ws.h, 0, step.n());
}

}  // namespace flashmoe
