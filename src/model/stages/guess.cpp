#include "model/stages/guess.h"

#include "model/matmul.h"

namespace flashmoe {
namespace {

constexpr int kNearlyAllPercent = 90;

}  // namespace

void guess_picks(Step& step, const NextRouter& next, int n_distinct) {
  const bool watched = step.observer != nullptr && step.observer->wants_guesses();
  const bool heard = step.experts.wants_guess();
  if (!heard && !watched) return;
  const Timed timed(step.profile, Stage::route);
  auto& guess = step.ws.guess;
  const int64_t n_experts = step.config.n_experts, k = step.config.n_experts_used;
  if (step.n() == 1) {
    step.kernels.rmsnorm(step.ws.x.data(), next.norm.data(), 1, step.config.d_model, step.config.norm_eps,
                         guess.h.data());
    const Activations h{1, step.config.d_model, guess.h.data(), nullptr, nullptr, nullptr};
    const MatmulTask task[] = {{next.router, h, guess.logits.data(), n_experts, true}};
    matmul(step, task);
    step.kernels.route_topk(guess.logits.data(), n_experts, k, guess.experts.data(), guess.weights.data());
    const auto likeliest = guess.experts.first(static_cast<size_t>(k));
    if (step.observer != nullptr) step.observer->guessed(next.layer, likeliest);
    if (heard) step.experts.guess(next.layer, likeliest);
  } else if (heard && n_distinct * 100 >= step.config.n_experts * kNearlyAllPercent) {
    for (int32_t e = 0; e < n_experts; ++e) guess.experts[static_cast<size_t>(e)] = e;
    step.experts.guess(next.layer, guess.experts);
  }
}

}  // namespace flashmoe
