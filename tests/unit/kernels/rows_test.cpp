#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

class RowKernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  const KernelTable& scalar() const { return **kernels_by_name("scalar"); }
  std::mt19937 random_{23};
};

// Relative to the value, with `floor` below which only the absolute error counts.
void expect_close(const std::vector<float>& got, const std::vector<float>& want, double relative, double floor = 1e-6) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], relative * std::max(std::fabs(double{want[i]}), floor)) << "at " << i;
  }
}

constexpr int64_t kWidths[] = {1, 7, 8, 15, 16, 31, 64, 130, 1024};

TEST_P(RowKernels, RmsnormAgreesAndMayRunInPlace) {
  for (const int64_t d : kWidths) {
    const std::vector<float> x = random_floats(random_, 3 * d), w = random_floats(random_, d);
    std::vector<float> want(x.size()), got = x;
    scalar().rmsnorm(x.data(), w.data(), 3, d, 1e-6f, want.data());
    table().rmsnorm(got.data(), w.data(), 3, d, 1e-6f, got.data());
    expect_close(got, want, 1e-6);
    std::vector<float> alone(static_cast<size_t>(d));
    table().rmsnorm(x.data() + 2 * d, w.data(), 1, d, 1e-6f, alone.data());
    EXPECT_EQ(0, std::memcmp(alone.data(), got.data() + 2 * d, alone.size() * sizeof(float)));
  }
}

TEST_P(RowKernels, GatedRmsnormAgrees) {
  for (const int64_t d : kWidths) {
    const int64_t stride = d + 5;
    const std::vector<float> x = random_floats(random_, 3 * stride), z = random_floats(random_, 3 * stride, 3);
    const std::vector<float> w = random_floats(random_, d);
    std::vector<float> want = x, got = x;  // what lies between the rows must stay
    scalar().gated_rmsnorm(x.data(), z.data(), w.data(), 3, d, stride, 1e-6f, want.data());
    table().gated_rmsnorm(got.data(), z.data(), w.data(), 3, d, stride, 1e-6f, got.data());
    expect_close(got, want, 2e-6);
  }
}

TEST_P(RowKernels, L2normAgrees) {
  for (const int64_t d : kWidths) {
    const std::vector<float> x = random_floats(random_, 3 * (d + 2));
    std::vector<float> want = x, got = x;
    scalar().l2norm(want.data(), 3, d, d + 2, 0.25f, 1e-6f);
    table().l2norm(got.data(), 3, d, d + 2, 0.25f, 1e-6f);
    expect_close(got, want, 1e-6);
  }
}

TEST_P(RowKernels, GatesAgreeOverTheWholeRange) {
  std::vector<float> gate;
  for (float x = -120; x < 120; x += 0.0371f) gate.push_back(x);
  const auto n = static_cast<int64_t>(gate.size());
  const std::vector<float> up = random_floats(random_, n);
  std::vector<float> want(gate.size()), got = gate;
  scalar().silu_mul(gate.data(), up.data(), n, want.data());
  table().silu_mul(got.data(), up.data(), n, got.data());
  expect_close(got, want, 6e-7, 1e-28);  // below, e^-x has left the range of f32

  want = up;
  got = up;
  scalar().sigmoid_mul(gate.data(), n, want.data());
  table().sigmoid_mul(gate.data(), n, got.data());
  expect_close(got, want, 6e-7, 1e-28);
}

TEST_P(RowKernels, NanIsNotHidden) {
  const std::vector<float> nan(19, std::numeric_limits<float>::quiet_NaN()), one(19, 1.0f);
  std::vector<float> y(19);
  table().silu_mul(nan.data(), one.data(), 19, y.data());
  for (const float value : y) EXPECT_TRUE(std::isnan(value));
  y = one;
  table().sigmoid_mul(nan.data(), 19, y.data());
  for (const float value : y) EXPECT_TRUE(std::isnan(value));
}

TEST_P(RowKernels, AddScaledAgrees) {
  for (const int64_t n : kWidths) {
    const std::vector<float> x = random_floats(random_, n);
    std::vector<float> want = random_floats(random_, n), got = want;
    scalar().add_scaled(x.data(), -0.37f, n, want.data());
    table().add_scaled(x.data(), -0.37f, n, got.data());
    expect_close(got, want, 1e-6, 0.1);
  }
}

TEST_P(RowKernels, ElementsHaveTheSameBitsInEveryLane) {
  const std::vector<float> gate = random_floats(random_, 64, 4), up = random_floats(random_, 64);
  std::vector<float> together(64), alone(64);
  table().silu_mul(gate.data(), up.data(), 64, together.data());
  for (size_t j = 0; j < 64; ++j) table().silu_mul(&gate[j], &up[j], 1, &alone[j]);
  EXPECT_EQ(0, std::memcmp(together.data(), alone.data(), 64 * sizeof(float)));
}

TEST_P(RowKernels, ConvolutionAgreesAndIsCausal) {
  for (const int64_t channels : {5, 16, 43, 96}) {
    constexpr int64_t kTokens = 9;
    const std::vector<float> x = random_floats(random_, kTokens * channels), w = random_floats(random_, 4 * channels);
    const std::vector<float> start = random_floats(random_, 3 * channels);
    std::vector<float> want(x.size()), want_history = start;
    scalar().conv4_silu(x.data(), w.data(), kTokens, channels, 0, channels, want_history.data(), want.data());

    std::vector<float> got(x.size()), history = start;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 3}, {3, channels}}) {
      std::vector<float> part(static_cast<size_t>(kTokens * (end - begin)));
      table().conv4_silu(x.data(), w.data(), kTokens, channels, begin, end, history.data(), part.data());
      for (int64_t t = 0; t < kTokens; ++t) {
        std::copy_n(part.data() + t * (end - begin), end - begin, got.data() + t * channels + begin);
      }
    }
    expect_close(got, want, 2e-6, 0.1);
    EXPECT_EQ(history, want_history);

    std::vector<float> stepped(x.size());
    history = start;
    for (int64_t t = 0; t < kTokens; ++t) {
      table().conv4_silu(x.data() + t * channels, w.data(), 1, channels, 0, channels, history.data(),
                         stepped.data() + t * channels);
    }
    EXPECT_EQ(0, std::memcmp(stepped.data(), got.data(), got.size() * sizeof(float)));
    EXPECT_EQ(history, want_history);
  }
}

TEST_P(RowKernels, RopeTurnsPairsAndLeavesTheRest) {
  constexpr int64_t kHeads = 3, kStride = 90;
  for (const int64_t dims : {2, 12, 32, 64, 80}) {
    std::vector<float> angle = random_floats(random_, dims / 2, 3), cos, sin;
    for (const float a : angle) {
      cos.push_back(std::cos(a));
      sin.push_back(std::sin(a));
    }
    const std::vector<float> x = random_floats(random_, kHeads * kStride);
    std::vector<float> want = x, got = x;
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t j = 0; j < dims / 2; ++j) {
        const auto a = static_cast<size_t>(h * kStride + j), b = a + static_cast<size_t>(dims / 2);
        const double c = cos[static_cast<size_t>(j)], s = sin[static_cast<size_t>(j)];
        want[a] = static_cast<float>(x[a] * c - x[b] * s);
        want[b] = static_cast<float>(x[b] * c + x[a] * s);
      }
    }
    table().rope(got.data(), kHeads, kStride, dims, cos.data(), sin.data());
    expect_close(got, want, 2e-6, 0.5);
  }
}

TEST_P(RowKernels, HalvesRoundAsScalar) {
  std::vector<float> x = random_floats(random_, 1001, 100);
  for (size_t i = 0; i < 500; ++i) x[i] *= 1e-7f;
  x[7] = 1e9f;
  x[8] = -0.0f;
  std::vector<uint16_t> want(x.size()), got(x.size());
  scalar().f32_to_f16(x.data(), 1001, want.data());
  table().f32_to_f16(x.data(), 1001, got.data());
  EXPECT_EQ(got, want);
}

TEST_P(RowKernels, RoutesToTheLargest) {
  for (const int64_t n : {1, 8, 24, 256, 512}) {
    for (const int64_t k : {1, 3, 8, 10}) {
      if (k > n) continue;
      std::vector<float> logits = random_floats(random_, n, 2);
      if (n > 20) logits[17] = logits[4] = logits[9] = 9.0f;  // ties go to the lower id
      std::vector<int32_t> order(static_cast<size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
      });
      order.resize(static_cast<size_t>(k));
      double total = 0;
      for (const int32_t id : order) total += std::exp(double{logits[static_cast<size_t>(id)]});
      std::vector<int32_t> experts(static_cast<size_t>(k));
      std::vector<float> weights(static_cast<size_t>(k));
      table().route_topk(logits.data(), n, k, experts.data(), weights.data());
      EXPECT_EQ(experts, order);
      for (size_t j = 0; j < weights.size(); ++j) {
        EXPECT_NEAR(weights[j], std::exp(double{logits[static_cast<size_t>(order[j])]}) / total, 1e-7);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, RowKernels, testing::ValuesIn(available_tables()),
                         [](const auto& param) { return param.param->name; });

}  // namespace
}  // namespace flashmoe
