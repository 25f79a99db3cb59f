#include "model/stages/guess.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "model/stages/combine.h"
#include "model/stages/router.h"
#include "support/no_experts.h"

namespace flashmoe {
namespace {

constexpr int64_t kRows = 2, kUsed = 2, kModel = 256;
constexpr int kExperts = 8;

class Listener final : public NoExperts {
 public:
  bool wants_guess() const override { return true; }
  void guess(int layer, std::span<const int32_t> experts, int64_t n_rows) override {
    EXPECT_EQ(layer, 1);
    EXPECT_GT(n_rows, 0);
    guesses.assign(experts.begin(), experts.end());
  }
  std::vector<int32_t> guesses;  // [k, n]
};

ModelConfig a_model() {
  ModelConfig config;
  config.n_layers = 2;
  config.layer_is_attention = {true, true};
  config.d_model = kModel;
  config.vocab_size = 64;
  config.n_experts = kExperts;
  config.n_experts_used = kUsed;
  config.d_ff_expert = 32;
  config.d_ff_shared = 32;
  config.attention = {1, 1, 16, 4, 1e4};
  return config;
}

// The next router picks expert e by column e of the state.
class GuessTest : public testing::Test {
 protected:
  GuessTest() : router_(kExperts * kModel), norm_(kModel, 1.0F) {
    budget_.allot(Allotted::workspace, 1ULL << 30);
    ws_.emplace(config_, WorkspaceShape{kRows, true, false}, budget_);
    for (size_t e = 0; e < kExperts; ++e) router_[e * kModel + e] = 1;
    step_.emplace(Step{config_, best_kernels(), pool_, listener_, *ws_, profile_, nullptr, false, {}});
    step_->batch.tokens = tokens_;
    std::ranges::fill(ws_->x, 0.01F);
    std::ranges::fill(ws_->moe.out, 0.0F);
    std::ranges::fill(ws_->moe.shared_out, 0.0F);
    std::ranges::fill(ws_->moe.shared_gate, 0.0F);   // a weight of one half
    ws_->x[0] = 3, ws_->x[1] = 2;                    // row 0: experts 0, 1
    ws_->x[kModel + 1] = 3, ws_->x[kModel + 2] = 2;  // row 1: experts 1, 2
    const std::vector<int32_t> picks = {5, 2, 2, 7};
    std::ranges::copy(picks, ws_->moe.experts.begin());
    std::ranges::fill(ws_->moe.weights, 0.5F);
    n_distinct_ = group_by_expert(*step_);
    // What they give: expert 2 to column 3, 5 to column 5, 7 to column 7, the shared one to column 6.
    give(0, 0, 5, 20), give(0, 1, 3, 30), give(1, 0, 3, 30), give(1, 1, 7, 40);
    ws_->moe.shared_out[6] = 16;
  }

  void give(int64_t row, int64_t rank, int64_t column, float value) {
    const int64_t slot = ws_->moe.slot_of[static_cast<size_t>(row * kUsed + rank)];
    ws_->moe.out[static_cast<size_t>(slot * kModel + column)] = value;
  }
  std::vector<int32_t> guess(const std::vector<int32_t>& computed) {
    const MatrixView router = {reinterpret_cast<const std::byte*>(router_.data()), kExperts, kModel, Format::f32};
    guess_picks(*step_, {1, norm_, router}, n_distinct_, computed);
    return listener_.guesses;
  }

  const ModelConfig config_ = a_model();
  const std::vector<int32_t> tokens_ = std::vector<int32_t>(kRows);
  Budget budget_;
  std::optional<Workspace> ws_;
  Profile profile_;
  Listener listener_;
  ThreadPool pool_{1};
  std::vector<float> router_, norm_;
  std::optional<Step> step_;
  int n_distinct_ = 0;
};

TEST_F(GuessTest, TakesTheStateAsFarAsItIsComputed) {
  ASSERT_EQ(n_distinct_, 3);  // 2, 5, 7
  EXPECT_EQ(guess({}), (std::vector<int32_t>{0, 1, 1, 2})) << "neither an expert nor the shared one";
  EXPECT_EQ(guess({0}), (std::vector<int32_t>{3, 3, 6, 1})) << "expert 2 in both rows, the shared one in the first";
  EXPECT_EQ(guess({1}), (std::vector<int32_t>{5, 1, 6, 2}));
  EXPECT_EQ(guess({2, 1}), (std::vector<int32_t>{5, 7, 6, 1}));
  EXPECT_EQ(guess({2, 0, 1}), (std::vector<int32_t>{3, 7, 5, 3}));
}

TEST_F(GuessTest, WhatIsComputedGivesTheWholeState) {
  std::vector<float> x(ws_->x.begin(), ws_->x.end());
  const std::vector<int32_t> all = {0, 1, 2};
  combine_computed(*step_, all, x.data());
  const auto guesses = guess(all);
  EXPECT_EQ(ws_->x[0], 3) << "a guess changed the state";
  combine(*step_);
  EXPECT_TRUE(std::ranges::equal(x, ws_->x));
  EXPECT_EQ(guess({}), guesses);
}

// The guesses of a step of n rows, all of which pick experts 0 and 1, but for some: row i picks others[i] and then 0.
std::vector<int32_t> guess_by_sample(int64_t n, const std::map<int64_t, int32_t>& others, int n_distinct = 3) {
  const ModelConfig config = a_model();
  std::vector<float> router(kExperts * kModel), norm(kModel, 1.0F);
  for (size_t e = 0; e < kExperts; ++e) router[e * kModel + e] = 1;
  Budget budget;
  budget.allot(Allotted::workspace, 1ULL << 30);
  Workspace ws(config, {n, true, false}, budget);
  Profile profile;
  Listener listener;
  ThreadPool pool(1);
  Step step{config, best_kernels(), pool, listener, ws, profile, nullptr, false, {}};
  const std::vector<int32_t> tokens(static_cast<size_t>(n));
  step.batch.tokens = tokens;
  std::ranges::fill(ws.x, 0.01F);
  for (int64_t row = 0; row < n; ++row) {
    const auto other = others.find(row);
    float* x = ws.x.data() + row * kModel;
    if (other == others.end()) {
      x[0] = 3, x[1] = 2;
    } else {
      x[other->second] = 3, x[0] = 2;
    }
  }
  const MatrixView view = {reinterpret_cast<const std::byte*>(router.data()), kExperts, kModel, Format::f32};
  guess_picks(step, {1, norm, view}, n_distinct, {});
  return listener.guesses;
}

TEST(SampledGuess, TellsWhatTwoRowsAreExpectedToPickMostRowsFirst) {
  EXPECT_EQ(guess_by_sample(16, {{3, 5}, {4, 5}, {9, 4}}), (std::vector<int32_t>{0, 1, 5})) << "4 is one row's guess";
  EXPECT_EQ(guess_by_sample(16, {}), (std::vector<int32_t>{0, 1}));
}

TEST(SampledGuess, RowsOfTheSampleStandForTheOthers) {
  EXPECT_EQ(guess_by_sample(640, {{10, 5}, {11, 4}}), (std::vector<int32_t>{0, 1, 5}))
      << "of ten rows the first is looked at";
}

TEST(SampledGuess, AllAreLikelyWhereThisLayerPickedThem) {
  EXPECT_EQ(guess_by_sample(16, {{3, 5}, {4, 5}, {9, 4}}, kExperts), (std::vector<int32_t>{0, 1, 5, 4, 2, 3, 6, 7}));
}

}  // namespace
}  // namespace flashmoe
