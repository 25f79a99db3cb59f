#include "sampling/filters.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace flashmoe {
namespace {

// Up to here a heap of k beats a partition of everything: nearly every candidate fails against its smallest.
constexpr size_t kHeapLimit = 1024;
constexpr size_t kFirstRun = 256;  // candidates sorted at a time in search of the nucleus

double weight(const Candidate& candidate) { return std::exp(static_cast<double>(candidate.logit)); }

double sum_of_weights(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += weight(candidate);
  return sum;
}

// Moves those for which `keep` holds to the front, in their order.
template <typename Keep>
std::span<Candidate> keep_if(std::span<Candidate> candidates, Keep keep) {
  const auto end = std::remove_if(candidates.begin(), candidates.end(), [&](const Candidate& c) { return !keep(c); });
  return candidates.first(static_cast<size_t>(end - candidates.begin()));
}

// The first n, in order, to the front.
void sort_first(std::span<Candidate> candidates, size_t n) {
  if (n < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(n), candidates.end(),
                     comes_first);
  }
  std::sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(n), comes_first);
}

}  // namespace

std::span<Candidate> keep_top_k(std::span<Candidate> candidates, size_t k) {
  if (k >= candidates.size()) return candidates;
  if (k > kHeapLimit) {
    sort_first(candidates, k);
    return candidates.first(k);
  }
  const auto top = candidates.first(k);
  std::make_heap(top.begin(), top.end(), comes_first);  // its front comes last
  for (Candidate& candidate : candidates.subspan(k)) {
    if (!comes_first(candidate, top.front())) continue;
    std::pop_heap(top.begin(), top.end(), comes_first);
    top.back() = candidate;
    std::push_heap(top.begin(), top.end(), comes_first);
  }
  std::sort_heap(top.begin(), top.end(), comes_first);
  return top;
}

std::span<Candidate> keep_top_p(std::span<Candidate> candidates, double p) {
  if (candidates.empty()) return candidates;
  const double total = sum_of_weights(candidates);
  // All the candidates below this weight together hold less than 1 - p: the nucleus is complete before the first of
  // them.
  const double least = total * (1 - p) / static_cast<double>(candidates.size()) * (1 - 1e-6);
  const double least_logit = std::log(least);
  candidates = keep_if(candidates, [&](const Candidate& c) { return static_cast<double>(c.logit) >= least_logit; });
  double sum = 0;
  size_t run = kFirstRun;
  for (size_t begin = 0; begin < candidates.size(); begin += run, run *= 4) {
    run = std::min(run, candidates.size() - begin);
    sort_first(candidates.subspan(begin), run);
    for (size_t i = begin; i < begin + run; ++i) {
      sum += weight(candidates[i]);
      if (sum >= p * total) return candidates.first(i + 1);
    }
  }
  return candidates;
}

std::span<Candidate> keep_min_p(std::span<Candidate> candidates, double p) {
  const double least_logit = std::log(p);
  return keep_if(candidates, [&](const Candidate& c) { return static_cast<double>(c.logit) >= least_logit; });
}

int32_t pick(std::span<const Candidate> candidates, double u) {
  CHECK(!candidates.empty());
  double left = u * sum_of_weights(candidates);
  for (const Candidate& candidate : candidates) {
    left -= weight(candidate);
    if (left < 0) return candidate.id;
  }
  // Rounding used up the last share; the one that comes first always has weight.
  return std::min_element(candidates.begin(), candidates.end(), comes_first)->id;
}

}  // namespace flashmoe
