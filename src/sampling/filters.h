// Which tokens a draw may choose from, and the draw. All work in place and allocate nothing.
#pragma once

#include <cstdint>
#include <span>

namespace flashmoe {

struct Candidate {
  float logit;
  int32_t id;
};

// Larger logits first, then lower ids.
inline bool comes_first(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The k that come first, in that order; all, in any order, when there are no more than k.
std::span<Candidate> keep_top_k(std::span<Candidate> candidates, size_t k);

// The functions below take logits with the largest subtracted and the temperature applied: exp(logit) is the weight.

// The fewest that come first whose weights are at least `p` (0 < p < 1) of the sum, in order.
std::span<Candidate> keep_top_p(std::span<Candidate> candidates, double p);

// Those whose weight is at least `p` (0 < p <= 1) times the largest; keeps their order.
std::span<Candidate> keep_min_p(std::span<Candidate> candidates, double p);

// The id in whose share of the weights `u` (0 <= u < 1) falls. `candidates` is not empty.
int32_t pick(std::span<const Candidate> candidates, double u);

}  // namespace flashmoe
