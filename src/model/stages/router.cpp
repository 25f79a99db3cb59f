#include "model/stages/router.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"

namespace flashmoe {
namespace {

// Weights [k] of one row that sum to 1 become their part of the softmax over all logits [n].
void scale_to_softmax(std::span<const float> logits, std::span<const int32_t> experts, std::span<float> weights) {
  const double largest = logits[static_cast<size_t>(experts[0])];
  double all = 0, picked = 0;
  for (const float logit : logits) all += std::exp(logit - largest);
  for (const int32_t e : experts) picked += std::exp(logits[static_cast<size_t>(e)] - largest);
  for (float& weight : weights) weight *= static_cast<float>(picked / all);
}

}  // namespace

int route(Step& step, int layer, const MatrixView& router) {
  const Timed timed(step.profile, Stage::route);
  auto& moe = step.ws.moe;
  const int64_t n_experts = step.config.n_experts, k = step.config.n_experts_used;
  const MatmulTask task[] = {{router, step.ws.h.rows(0, step.n()), moe.router_logits.data(), n_experts, true}};
  matmul(step, task);
  step.pool.parallel_for(step.n(), grain_for(n_experts * 32), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      step.kernels.route_topk(moe.router_logits.data() + i * n_experts, n_experts, k, moe.experts.data() + i * k,
                              moe.weights.data() + i * k);
      if (step.config.picks_sum_to_one) continue;
      const auto row = static_cast<size_t>(i), n_picked = static_cast<size_t>(k);
      scale_to_softmax({moe.router_logits.data() + i * n_experts, static_cast<size_t>(n_experts)},
                       moe.experts.subspan(row * n_picked, n_picked), moe.weights.subspan(row * n_picked, n_picked));
    }
  });
  const auto n_picks = static_cast<size_t>(step.n() * k);
  if (step.observer != nullptr) {
    step.observer->scored(layer, moe.router_logits.first(static_cast<size_t>(step.n() * n_experts)));
    step.observer->routed(layer, moe.experts.first(n_picks), moe.weights.first(n_picks));
  }
  return group_by_expert(step);
}

// Counting sort.
int group_by_expert(Step& step) {
  auto& moe = step.ws.moe;
  const int n_experts = step.config.n_experts;
  const auto n_picks = static_cast<size_t>(step.n() * step.config.n_experts_used);
  const auto next = moe.arrived.first(static_cast<size_t>(n_experts));  // borrowed: free until experts arrive
  std::fill(next.begin(), next.end(), 0);
  for (size_t i = 0; i < n_picks; ++i) ++next[static_cast<size_t>(moe.experts[i])];
  int32_t slot = 0;
  size_t n_distinct = 0;
  for (int32_t e = 0; e < n_experts; ++e) {
    const int32_t count = next[static_cast<size_t>(e)];
    next[static_cast<size_t>(e)] = slot;
    if (count == 0) continue;
    moe.distinct[n_distinct] = e;
    moe.group_begin[n_distinct] = slot;
    slot += count;
    ++n_distinct;
  }
  moe.group_begin[n_distinct] = slot;
  for (size_t i = 0; i < n_picks; ++i) {
    const int32_t at = next[static_cast<size_t>(moe.experts[i])]++;
    moe.slot_of[i] = at;
    moe.row_of[static_cast<size_t>(at)] = static_cast<int32_t>(i) / step.config.n_experts_used;
  }
  return static_cast<int>(n_distinct);
}

}  // namespace flashmoe
