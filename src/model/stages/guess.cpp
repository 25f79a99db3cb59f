#include "model/stages/guess.h"

#include <algorithm>
#include <numeric>

#include "model/matmul.h"
#include "model/stages/combine.h"

namespace flashmoe {
namespace {

constexpr int kNearlyAllPercent = 90;

// [k, n]: the rows' first picks, then their second, and so on.
std::span<const int32_t> guess_rows(Step& step, const NextRouter& next, std::span<const int32_t> computed) {
  auto& guess = step.ws.guess;
  const int64_t n = step.n(), n_experts = step.config.n_experts, k = step.config.n_experts_used;
  float* const x = guess.h.data();
  std::copy_n(step.ws.x.data(), n * step.config.d_model, x);
  if (!computed.empty()) combine_computed(step, computed, x);
  step.kernels.rmsnorm(x, next.norm.data(), n, step.config.d_model, step.config.norm_eps, x);
  const Activations h{n, step.config.d_model, guess.h.data(), nullptr, nullptr, nullptr};
  const MatmulTask task[] = {{next.router, h, guess.logits.data(), n_experts, true}};
  matmul(step, task);
  for (int64_t row = 0; row < n; ++row) {
    int32_t* picks = guess.picks.data() + row * k;
    step.kernels.route_topk(guess.logits.data() + row * n_experts, n_experts, k, picks, guess.weights.data());
    for (int64_t rank = 0; rank < k; ++rank) guess.experts[static_cast<size_t>(rank * n + row)] = picks[rank];
  }
  return guess.experts.first(static_cast<size_t>(n * k));
}

}  // namespace

void guess_picks(Step& step, const NextRouter& next, int n_distinct, std::span<const int32_t> computed) {
  const bool watched = step.observer != nullptr && step.observer->wants_guesses();
  const bool heard = step.experts.wants_guess();
  if (!heard && !watched) return;
  const Timed timed(step.profile, Stage::route);
  if (step.n() <= kGuessedRows) {
    const auto likeliest = guess_rows(step, next, computed);
    if (step.observer != nullptr) step.observer->guessed(next.layer, likeliest);
    if (heard) step.experts.guess(next.layer, likeliest, step.n());
  } else if (heard && n_distinct * 100 >= step.config.n_experts * kNearlyAllPercent) {
    const auto all = step.ws.guess.experts.first(static_cast<size_t>(step.config.n_experts));
    std::iota(all.begin(), all.end(), 0);
    step.experts.guess(next.layer, all, step.n());
  }
}

}  // namespace flashmoe
