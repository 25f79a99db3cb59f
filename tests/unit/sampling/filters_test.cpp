#include "sampling/filters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace flashmoe {
namespace {

std::vector<Candidate> random_candidates(size_t n, uint32_t seed, int n_values) {
  std::mt19937 random(seed);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < n; ++i) {
    // Few values make many ties.
    const float logit = -static_cast<float>(random() % static_cast<uint32_t>(n_values)) / 16.0f;
    candidates.push_back({logit, static_cast<int32_t>(i)});
  }
  candidates[n / 2].logit = 0;
  return candidates;
}

std::vector<int32_t> ids(std::span<const Candidate> candidates) {
  std::vector<int32_t> out;
  for (const Candidate& candidate : candidates) out.push_back(candidate.id);
  return out;
}

std::vector<Candidate> sorted(std::vector<Candidate> candidates) {
  std::sort(candidates.begin(), candidates.end(), comes_first);
  return candidates;
}

TEST(FiltersTest, TopKIsTheSortedBeginning) {
  for (const size_t n : {1u, 2u, 100u, 5000u}) {
    for (const size_t k : {1u, 2u, 7u, 100u, 1024u, 1025u, 3000u}) {
      auto candidates = random_candidates(n, static_cast<uint32_t>(n + k), 40);
      auto expected = sorted(candidates);
      expected.resize(std::min(k, n));
      auto kept = keep_top_k(candidates, k);
      if (k >= n) std::sort(kept.begin(), kept.end(), comes_first);
      EXPECT_EQ(ids(kept), ids(expected)) << n << " " << k;
    }
  }
}

TEST(FiltersTest, TopPIsTheSmallestSufficientBeginning) {
  for (const int n_values : {1, 3, 40, 1000}) {
    for (const size_t n : {1u, 10u, 300u, 6000u}) {
      for (const double p : {1e-9, 0.1, 0.5, 0.9, 0.999}) {
        auto candidates = random_candidates(n, static_cast<uint32_t>(n), n_values);
        const auto all = sorted(candidates);
        double total = 0;
        for (const Candidate& c : all) total += std::exp(double{c.logit});
        const auto kept = keep_top_p(candidates, p);
        ASSERT_FALSE(kept.empty());
        ASSERT_EQ(ids(kept), ids(std::span(all).first(kept.size())));
        double sum = 0;
        for (const Candidate& c : kept) sum += std::exp(double{c.logit});
        EXPECT_GE(sum, p * total * (1 - 1e-12));
        EXPECT_LT(sum - std::exp(double{kept.back().logit}), p * total * (1 + 1e-12));
      }
    }
  }
}

TEST(FiltersTest, MinPComparesWithTheLargest) {
  std::vector<Candidate> candidates = {{-1, 0}, {0, 1}, {-3, 2}, {std::log(0.25f), 3}};
  EXPECT_EQ(ids(keep_min_p(candidates, 0.2)), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(ids(keep_min_p(std::span(candidates).first(3), 1.0)), std::vector<int32_t>{1});
}

TEST(FiltersTest, PickFollowsTheShares) {
  const std::vector<Candidate> candidates = {{0, 5}, {std::log(2.0f), 6}, {0, 7}};
  EXPECT_EQ(pick(candidates, 0.0), 5);
  EXPECT_EQ(pick(candidates, 0.24), 5);
  EXPECT_EQ(pick(candidates, 0.26), 6);
  EXPECT_EQ(pick(candidates, 0.74), 6);
  EXPECT_EQ(pick(candidates, 0.76), 7);
  EXPECT_EQ(pick(candidates, std::nextafter(1.0, 0.0)), 7);
}

}  // namespace
}  // namespace flashmoe
