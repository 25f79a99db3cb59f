#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/f16.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

using testing_support::random_floats;

struct Inputs {
  int64_t d_head, n_queries, n_positions, kv_stride;
  std::vector<float> q, k, v;
  std::vector<uint16_t> k_half, v_half;

  Inputs(int64_t d, int64_t queries, int64_t positions, uint32_t seed, float sharpness)
      : d_head(d), n_queries(queries), n_positions(positions), kv_stride(2 * d + 1) {
    std::mt19937 random(seed);
    q = random_floats(random, n_queries * (d + 4), sharpness);
    k = random_floats(random, n_positions * kv_stride);
    v = random_floats(random, n_positions * kv_stride);
    for (std::vector<float>* values : {&k, &v}) {  // halves exactly, so that both entries see the same numbers
      std::vector<uint16_t>& halves = values == &k ? k_half : v_half;
      for (float& value : *values) {
        halves.push_back(f32_to_f16(value));
        value = f16_to_f32(halves.back());
      }
    }
  }
};

std::vector<float> run(const KernelTable& table, const Inputs& in, bool half, int64_t n_positions) {
  std::vector<float> out(static_cast<size_t>(in.n_queries * (in.d_head + 4)), NAN);
  AttentionHead head;
  head.n_positions = n_positions;
  head.d_head = in.d_head;
  head.n_queries = in.n_queries;
  head.q = in.q.data();
  head.k = half ? static_cast<const void*>(in.k_half.data()) : in.k.data();
  head.v = half ? static_cast<const void*>(in.v_half.data()) : in.v.data();
  head.out = out.data();
  head.q_stride = head.out_stride = in.d_head + 4;
  head.kv_stride = in.kv_stride;
  head.scale = 1 / std::sqrt(static_cast<float>(in.d_head));
  (half ? table.attention_f16 : table.attention_f32)(head);
  return out;
}

// The definition, with all scores at once.
double naive(const Inputs& in, int64_t query, int64_t dim) {
  std::vector<double> scores;
  for (int64_t p = 0; p < in.n_positions; ++p) {
    double dot = 0;
    for (int64_t j = 0; j < in.d_head; ++j) {
      dot += double{in.q[static_cast<size_t>(query * (in.d_head + 4) + j)]} *
             in.k[static_cast<size_t>(p * in.kv_stride + j)];
    }
    scores.push_back(dot / std::sqrt(static_cast<double>(in.d_head)));
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0, sum = 0;
  for (int64_t p = 0; p < in.n_positions; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p)] - largest);
    total += weight;
    sum += weight * in.v[static_cast<size_t>(p * in.kv_stride + dim)];
  }
  return sum / total;
}

class AttentionKernels : public testing::TestWithParam<const KernelTable*> {};

TEST_P(AttentionKernels, AgreeWithTheDefinition) {
  for (const int64_t d_head : {8, 20, 64}) {
    for (const int64_t n_queries : {1, 4, 7}) {
      for (const int64_t n_positions : {1, 2, 63, 64, 65, 200}) {
        const Inputs in(d_head, n_queries, n_positions, 43, n_positions == 65 ? 40.0f : 1.0f);
        for (const bool half : {false, true}) {
          const std::vector<float> out = run(*GetParam(), in, half, n_positions);
          for (int64_t query = 0; query < n_queries; ++query) {
            for (int64_t dim = 0; dim < d_head; dim += 3) {
              ASSERT_NEAR(out[static_cast<size_t>(query * (d_head + 4) + dim)], naive(in, query, dim), 3e-5)
                  << d_head << " " << n_queries << " " << n_positions << (half ? " f16" : " f32");
            }
            ASSERT_TRUE(std::isnan(out[static_cast<size_t>(query * (d_head + 4) + d_head)]));
          }
        }
      }
    }
  }
}

TEST_P(AttentionKernels, HoldScoresOfAnySize) {
  Inputs in(16, 2, 70, 47, 1.0f);
  for (float& value : in.q) value *= 3000;  // differences beyond the range of exp
  const std::vector<float> out = run(*GetParam(), in, false, 70);
  for (int64_t dim = 0; dim < 16; ++dim) EXPECT_NEAR(out[static_cast<size_t>(dim)], naive(in, 0, dim), 1e-3);
}

TEST_P(AttentionKernels, AQueryHasTheSameBitsInAnyGroup) {
  const Inputs in(64, 7, 130, 53, 1.0f);
  Inputs one = in;
  one.n_queries = 1;
  const std::vector<float> together = run(*GetParam(), in, true, 130);
  for (size_t query = 0; query < 7; ++query) {
    one.q.assign(in.q.begin() + static_cast<std::ptrdiff_t>(query * 68),
                 in.q.begin() + static_cast<std::ptrdiff_t>(query * 68 + 68));
    const std::vector<float> alone = run(*GetParam(), one, true, 130);
    EXPECT_EQ(0, std::memcmp(alone.data(), together.data() + query * 68, 64 * sizeof(float)));
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, AttentionKernels, testing::ValuesIn(testing_support::available_tables()),
                         [](const auto& param) { return param.param->name; });

}  // namespace
}  // namespace flashmoe
