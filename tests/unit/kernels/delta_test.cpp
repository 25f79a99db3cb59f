#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

// One head's inputs inside wider rows, as a batch holds them.
struct Inputs {
  int64_t n, d_key, d_value;
  std::vector<float> q, k, v, log_decay, beta, state;

  Inputs(int64_t n_tokens, int64_t key, int64_t value, uint32_t seed, float forget)
      : n(n_tokens), d_key(key), d_value(value) {
    std::mt19937 random(seed);
    q = random_floats(random, n * (d_key + 3));
    k = random_floats(random, n * (d_key + 3));
    v = random_floats(random, n * (d_value + 1));
    log_decay = random_floats(random, 2 * n, forget);
    beta = random_floats(random, 2 * n);
    for (float& value_ : log_decay) value_ = -std::fabs(value_);
    for (float& value_ : beta) value_ = 1 / (1 + std::exp(-value_));
    state = random_floats(random, d_key * d_value, 0.3f);
    const KernelTable& scalar = **kernels_by_name("scalar");
    scalar.l2norm(q.data(), n, d_key, d_key + 3, 1 / std::sqrt(static_cast<float>(d_key)), 1e-6f);
    scalar.l2norm(k.data(), n, d_key, d_key + 3, 1, 1e-6f);
  }
};

struct Result {
  std::vector<float> out, state;
};

DeltaHead head_of(const Inputs& in, int64_t first, int64_t n, Result& so_far, std::vector<float>& scratch) {
  DeltaHead head;
  head.n = n;
  head.d_key = in.d_key;
  head.d_value = in.d_value;
  head.qk_stride = in.d_key + 3;
  head.v_stride = in.d_value + 1;
  head.gate_stride = 2;
  head.out_stride = in.d_value + 2;
  head.q = in.q.data() + first * head.qk_stride;
  head.k = in.k.data() + first * head.qk_stride;
  head.v = in.v.data() + first * head.v_stride;
  head.log_decay = in.log_decay.data() + first * head.gate_stride;
  head.beta = in.beta.data() + first * head.gate_stride;
  head.state = so_far.state.data();
  head.out = so_far.out.data() + first * head.out_stride;
  head.scratch = scratch.data();
  return head;
}

Result run(void (*kernel)(const DeltaHead&) noexcept, const Inputs& in, int64_t first, int64_t n, Result so_far) {
  std::vector<float> scratch(static_cast<size_t>(delta_scratch_floats(in.d_key, in.d_value)), NAN);
  kernel(head_of(in, first, n, so_far, scratch));
  return so_far;
}

Result start_of(const Inputs& in) {
  return {std::vector<float>(static_cast<size_t>(in.n * (in.d_value + 2)), 7.0f), in.state};
}

void expect_within(const std::vector<float>& got, const std::vector<float>& want, double relative) {
  ASSERT_EQ(got.size(), want.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - want[i], 2);
    size += std::pow(double{want[i]}, 2);
  }
  EXPECT_LT(std::sqrt(error), relative * std::sqrt(size));
}

class DeltaKernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  static void one_chunk(const DeltaHead& head) noexcept { GetParam()->delta_chunk(&head, 1); }
};

TEST_P(DeltaKernels, StepAndChunkAgreeWithScalar) {
  const KernelTable& scalar = **kernels_by_name("scalar");
  for (const auto& [d_key, d_value] : {std::pair<int64_t, int64_t>{128, 128}, {32, 48}, {16, 20}, {7, 5}}) {
    for (const int64_t n : {1, 2, 3, 17, 63, 64}) {
      for (const float forget : {0.01f, 0.5f, 40.0f}) {
        const Inputs in(n, d_key, d_value, 31, forget);
        const Result want = run(scalar.delta_step, in, 0, n, start_of(in));
        const Result step = run(GetParam()->delta_step, in, 0, n, start_of(in));
        const Result chunk = run(one_chunk, in, 0, n, start_of(in));
        SCOPED_TRACE(testing::Message() << d_key << "x" << d_value << " n " << n << " forget " << forget);
        expect_within(step.out, want.out, 2e-6);
        expect_within(step.state, want.state, 2e-6);
        expect_within(chunk.out, want.out, 5e-6);
        expect_within(chunk.state, want.state, 5e-6);
      }
    }
  }
}

TEST_P(DeltaKernels, StepsHaveTheSameBitsOneByOne) {
  const Inputs in(9, 32, 40, 37, 0.3f);
  const Result together = run(GetParam()->delta_step, in, 0, 9, start_of(in));
  Result one_by_one = start_of(in);
  for (int64_t t = 0; t < 9; ++t) one_by_one = run(GetParam()->delta_step, in, t, 1, one_by_one);
  EXPECT_EQ(together.out, one_by_one.out);
  EXPECT_EQ(together.state, one_by_one.state);
}

TEST_P(DeltaKernels, ChunkRowsDoNotSeeLaterOnes) {
  const Inputs in(64, 32, 40, 41, 0.3f);
  const Result whole = run(one_chunk, in, 0, 64, start_of(in));
  const Result part = run(one_chunk, in, 0, 21, start_of(in));
  EXPECT_EQ(0, std::memcmp(whole.out.data(), part.out.data(), 21 * 42 * sizeof(float)));
}

// Value heads with the same q and k, as a key head's are.
TEST_P(DeltaKernels, ChunkOfSeveralHeadsHasTheBitsOfEach) {
  for (const int64_t n : {5, 64}) {
    const Inputs in(n, 32, 40, 43, 0.3f);
    Inputs other(n, 32, 40, 47, 0.3f);
    other.q = in.q;
    other.k = in.k;
    const Result alone[] = {run(one_chunk, in, 0, n, start_of(in)), run(one_chunk, other, 0, n, start_of(other))};
    Result together[] = {start_of(in), start_of(other)};
    std::vector<float> scratch(static_cast<size_t>(delta_scratch_floats(32, 40)), NAN);
    DeltaHead heads[] = {head_of(in, 0, n, together[0], scratch), head_of(other, 0, n, together[1], scratch)};
    heads[1].scratch = nullptr;
    GetParam()->delta_chunk(heads, 2);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(together[i].out, alone[i].out);
      EXPECT_EQ(together[i].state, alone[i].state);
    }
  }
}

// Two tokens of a 2 x 1 state, by hand.
TEST_P(DeltaKernels, FollowTheRule) {
  for (const auto kernel : {GetParam()->delta_step, &DeltaKernels::one_chunk}) {
    const std::vector<float> q = {1, 0, 2, -1}, k = {0, 1, 1, 1}, v = {3, 5}, beta = {0.5f, 1};
    const std::vector<float> log_decay = {std::log(0.5f), std::log(0.25f)};
    std::vector<float> state = {4, 8}, out(2), scratch(static_cast<size_t>(delta_scratch_floats(2, 1)));
    DeltaHead head;
    head.n = 2;
    head.d_key = head.qk_stride = 2;
    head.d_value = head.v_stride = head.gate_stride = head.out_stride = 1;
    head.q = q.data();
    head.k = k.data();
    head.v = v.data();
    head.log_decay = log_decay.data();
    head.beta = beta.data();
    head.state = state.data();
    head.out = out.data();
    head.scratch = scratch.data();
    kernel(head);
    // S = [2, 4]; m = 4; d = -0.5; S = [2, 3.5]; o = 2.
    // S = [0.5, 0.875]; m = 1.375; d = 3.625; S = [4.125, 4.5]; o = 8.25 - 4.5.
    EXPECT_NEAR(out[0], 2, 1e-6);
    EXPECT_NEAR(out[1], 3.75, 3e-6);
    EXPECT_NEAR(state[0], 4.125, 3e-6);
    EXPECT_NEAR(state[1], 4.5, 3e-6);
  }
}

TEST_P(DeltaKernels, GatesAgreeOverTheWholeRange) {
  const std::vector<float> bias = {0.5f, -0.25f, 0.0f}, neg_a = {-1.0f, -3.5f, -0.01f};
  for (const float x : {-200.0f, -90.0f, -20.0f, -3.0f, -1e-3f, 0.0f, 0.7f, 19.0f, 21.0f, 95.0f, 3000.0f}) {
    for (const int64_t n : {1, 2, 3, 19, 32}) {
      std::vector<float> alpha(static_cast<size_t>(n + 1), x), beta(static_cast<size_t>(n + 1), x / 2);
      std::vector<float> dt_bias, decay;
      for (size_t i = 0; i < alpha.size(); ++i) {
        dt_bias.push_back(bias[i % 3]);
        decay.push_back(neg_a[i % 3]);
      }
      GetParam()->delta_gates(alpha.data(), beta.data(), dt_bias.data(), decay.data(), n);
      for (size_t i = 0; i + 1 < alpha.size(); ++i) {
        const double t = double{x} + dt_bias[i];
        const double expected = decay[i] * (t > 40 ? t : std::log1p(std::exp(t)));
        EXPECT_NEAR(alpha[i], expected, 2e-6 * std::fabs(expected) + 1e-37) << x << " " << i;
        EXPECT_NEAR(beta[i], 1 / (1 + std::exp(-x / 2.0)), 1e-6) << x;
      }
      EXPECT_EQ(alpha.back(), x);
      EXPECT_EQ(beta.back(), x / 2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, DeltaKernels, testing::ValuesIn(available_tables()),
                         [](const auto& param) { return param.param->name; });

}  // namespace
}  // namespace flashmoe
