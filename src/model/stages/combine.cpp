#include "model/stages/combine.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"

namespace flashmoe {
namespace {

// x [d_model] += what the row's picks gave, those whose slots `has` tells, and the shared expert.
template <typename Has>
void combine_row(const Step& step, int64_t row, const Has& has, float* x) {
  const auto& moe = step.ws.moe;
  const int64_t d_model = step.config.d_model, k = step.config.n_experts_used;
  for (int64_t j = 0; j < k; ++j) {
    const auto pick = static_cast<size_t>(row * k + j);
    const int32_t slot = moe.slot_of[pick];
    if (has(slot)) step.kernels.add_scaled(moe.out.data() + slot * d_model, moe.weights[pick], d_model, x);
  }
  if (step.config.d_ff_shared == 0) return;
  const float weight = 1.0F / (1.0F + std::exp(-moe.shared_gate[static_cast<size_t>(row)]));
  step.kernels.add_scaled(moe.shared_out.data() + row * d_model, weight, d_model, x);
}

}  // namespace

void combine(Step& step) {
  const Timed timed(step.profile, Stage::experts);
  const int64_t d_model = step.config.d_model, cost = (step.config.n_experts_used + 1) * d_model;
  step.pool.parallel_for(step.n(), grain_for(cost), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      combine_row(
          step, row, [](int32_t) { return true; }, step.ws.x.data() + row * d_model);
    }
  });
}

void combine_computed(const Step& step, std::span<const int32_t> computed, float* x) {
  const auto& group_begin = step.ws.moe.group_begin;
  const auto has = [&](int32_t slot) {
    return std::any_of(computed.begin(), computed.end(), [&](int32_t i) {
      const auto group = static_cast<size_t>(i);
      return group_begin[group] <= slot && slot < group_begin[group + 1];
    });
  };
  for (int64_t row = 0; row < step.n(); ++row) combine_row(step, row, has, x + row * step.config.d_model);
}

}  // namespace flashmoe
