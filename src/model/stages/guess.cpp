#include "model/stages/guess.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "model/matmul.h"
#include "model/stages/combine.h"

namespace flashmoe {
namespace {

// Of a long step an expert is nearly sure to be picked when so many of its rows are expected to do so.
constexpr int64_t kRowsExpected = 2;
// And any expert is, when this layer has picked so many of its own.
constexpr int kNearlyAllPercent = 90;

// guess.picks [n, k] of the state of rows guess.h [n].
void route_guesses(Step& step, const NextRouter& next, int64_t n) {
  auto& guess = step.ws.guess;
  const int64_t d_model = step.config.d_model, n_experts = step.config.n_experts, k = step.config.n_experts_used;
  step.kernels.rmsnorm(guess.h.data(), next.norm.data(), n, d_model, step.config.norm_eps, guess.h.data());
  const Activations h{n, d_model, guess.h.data(), nullptr, nullptr, nullptr};
  const MatmulTask task[] = {{next.router, h, guess.logits.data(), n_experts, true}};
  matmul(step, task);
  for (int64_t row = 0; row < n; ++row) {
    step.kernels.route_topk(guess.logits.data() + row * n_experts, n_experts, k, guess.picks.data() + row * k,
                            guess.weights.data());
  }
}

// [k, n]: the rows' first picks, then their second, and so on.
std::span<const int32_t> guess_rows(Step& step, const NextRouter& next, std::span<const int32_t> computed) {
  auto& guess = step.ws.guess;
  const int64_t n = step.n(), k = step.config.n_experts_used;
  std::copy_n(step.ws.x.data(), n * step.config.d_model, guess.h.data());
  if (!computed.empty()) combine_computed(step, computed, guess.h.data());
  route_guesses(step, next, n);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t rank = 0; rank < k; ++rank) {
      guess.experts[static_cast<size_t>(rank * n + row)] = guess.picks[static_cast<size_t>(row * k + rank)];
    }
  }
  return guess.experts.first(static_cast<size_t>(n * k));
}

// What is nearly sure of a long step, by a sample of its rows: those first that most rows guess.
std::span<const int32_t> guess_by_sample(Step& step, const NextRouter& next, bool all_are_likely) {
  auto& guess = step.ws.guess;
  const int64_t n = std::min(step.n(), kSampledRows), d_model = step.config.d_model;
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(step.ws.x.data() + step.n() * i / n * d_model, d_model, guess.h.data() + i * d_model);
  }
  route_guesses(step, next, n);
  const auto n_rows = guess.n_rows;
  std::ranges::fill(n_rows, 0);
  for (const int32_t pick : guess.picks.first(static_cast<size_t>(n * step.config.n_experts_used))) {
    ++n_rows[static_cast<size_t>(pick)];
  }
  const auto all = guess.experts.first(n_rows.size());
  std::iota(all.begin(), all.end(), 0);
  std::ranges::sort(all, {}, [&](int32_t e) { return std::pair(-n_rows[static_cast<size_t>(e)], e); });
  if (all_are_likely) return all;
  const auto unlikely = std::ranges::find_if(
      all, [&](int32_t e) { return n_rows[static_cast<size_t>(e)] * step.n() < kRowsExpected * n; });
  return {all.begin(), unlikely};
}

}  // namespace

void guess_picks(Step& step, const NextRouter& next, int n_distinct, std::span<const int32_t> computed) {
  const bool watched = step.observer != nullptr && step.observer->wants_guesses();
  const bool heard = step.experts.wants_guess();
  if (!heard && !watched) return;
  const Timed timed(step.profile, Stage::route);
  const bool all_are_likely = n_distinct * 100 >= step.config.n_experts * kNearlyAllPercent;
  const auto likeliest =
      step.n() <= kGuessedRows ? guess_rows(step, next, computed) : guess_by_sample(step, next, all_are_likely);
  if (step.observer != nullptr) step.observer->guessed(next.layer, likeliest);
  if (heard) step.experts.guess(next.layer, likeliest, step.n());
}

}  // namespace flashmoe
