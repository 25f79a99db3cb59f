#include "model/matmul.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "support/no_experts.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

ModelConfig one_layer() {
  ModelConfig config;
  config.n_layers = 1;
  config.layer_is_attention = {false};
  config.d_model = 256;
  config.vocab_size = 64;
  config.n_experts = 4;
  config.n_experts_used = 1;
  config.d_ff_expert = 608;
  config.delta_net = {1, 1, 16, 16, HeadOrder::grouped};
  config.attention = {1, 1, 16, 4, 1e4};
  return config;
}

TEST(MatmulTest, AnySplitIntoPiecesComputesEveryRowOnce) {
  const ModelConfig config = one_layer();
  Budget budget;
  budget.allot(Allotted::workspace, 1ULL << 30);
  Workspace ws(config, {.max_rows = 8, .n_threads = 3}, budget);
  Profile profile;
  NoExperts experts;
  ThreadPool one(1), three(3);
  std::vector<std::vector<float>> results;
  for (ThreadPool* pool : {&one, &three}) {
    Step step{config, best_kernels(), *pool, experts, ws, profile, nullptr, false, {}};
    for (size_t i = 0; i < ws.h.f32.size(); ++i) ws.h.f32[i] = static_cast<float>(i % 17) - 8.0F;
    quantise(step, ws.h, 0, 8);
    std::vector<std::string> weights;
    std::vector<float> y;
    const std::vector<int64_t> rows = {1, 7, 8, 1000, 3};
    int64_t total = 0;
    for (const int64_t r : rows) total += r;
    y.resize(static_cast<size_t>(total * 8), -1e30F);
    std::vector<MatmulTask> tasks;
    float* to = y.data();
    for (const int64_t r : rows) {
      weights.push_back(random_blocks(Format::q4_k, r * 256, 1.0F, static_cast<uint64_t>(r)));
      tasks.push_back({{nullptr, r, 256, Format::q4_k}, ws.h.rows(0, 8), to, r});
      to += r * 8;
    }
    for (size_t i = 0; i < tasks.size(); ++i) tasks[i].w.data = reinterpret_cast<const std::byte*>(weights[i].data());
    matmul(step, tasks);
    for (const float value : y) ASSERT_NE(value, -1e30F);
    results.push_back(y);
  }
  EXPECT_EQ(results[0], results[1]);
}

// act of rows of activations, of which there are several parts of kGatedRows.
class GatedTest : public testing::TestWithParam<int> {
 protected:
  static constexpr int64_t kRows = 250, kModel = 256, kFf = 608;

  GatedTest() : pool_(GetParam()) {
    budget_.allot(Allotted::workspace, 1ULL << 30);
    ws_.emplace(config_, WorkspaceShape{kRows, true, true, GetParam()}, budget_);
    step_.emplace(Step{config_, best_kernels(), pool_, experts_, *ws_, profile_, nullptr, false, {}});
    for (size_t i = 0; i < ws_->h.f32.size(); ++i) ws_->h.f32[i] = static_cast<float>(i * i % 1009) - 500.0F;
    quantise(*step_, ws_->h, 0, kRows);
  }

  // Rows [first, first + n) of act become those of rows row_of of h, or of the first n.
  void make(const int32_t* row_of, int64_t n, int64_t first) {
    const auto view = [](const std::string& w) {
      return MatrixView{reinterpret_cast<const std::byte*>(w.data()), kFf, kModel, Format::q4_k};
    };
    const GatedTask task = {view(gate_), view(up_), &ws_->h, row_of, n, &ws_->moe.act, first};
    matmul(*step_, {}, {&task, 1});
  }
  struct Made {
    std::vector<float> f32, scale;
    std::vector<int8_t> q8;
    bool operator==(const Made&) const = default;
  };
  Made made(int64_t first, int64_t n) const {
    const auto rows = [&](auto values, int64_t width) {
      return std::vector(values.begin() + first * width, values.begin() + (first + n) * width);
    };
    const ActivationBuffer& act = ws_->moe.act;
    return {rows(act.f32, kFf), rows(act.scale, kFf / kActivationBlock), rows(act.q8, kFf)};
  }

  ModelConfig config_ = one_layer();
  Budget budget_;
  Profile profile_;
  NoExperts experts_;
  ThreadPool pool_;
  std::optional<Workspace> ws_;
  std::optional<Step> step_;
  std::string gate_ = random_blocks(Format::q4_k, kFf* kModel, 1.0F, 1);
  std::string up_ = random_blocks(Format::q4_k, kFf* kModel, 1.0F, 2);
};

// Groups of activations are quantised together, however rows are shared out.
TEST_P(GatedTest, PiecesMakeWholeGroups) {
  make(nullptr, 8, 0);
  const Made by_pieces = made(0, 8);
  quantise(*step_, ws_->moe.act, 0, 8);
  EXPECT_EQ(made(0, 8), by_pieces);
}

TEST_P(GatedTest, RowsAreThoseThatWerePicked) {
  make(nullptr, kRows, 0);
  const Made of_all = made(0, kRows);
  std::vector<int32_t> backwards(kRows);
  for (int32_t i = 0; i < kRows; ++i) backwards[static_cast<size_t>(i)] = static_cast<int32_t>(kRows) - 1 - i;
  make(backwards.data(), kRows, 0);
  for (int64_t i = 0; i < kRows; ++i) {
    const Made picked = made(i, 1);
    make(&backwards[static_cast<size_t>(i)], 1, i);
    ASSERT_EQ(made(i, 1), picked) << i;
  }
  make(nullptr, kRows, 0);
  EXPECT_EQ(made(0, kRows), of_all);
}

TEST_P(GatedTest, PickedRowsAreWrittenFromTheTasksFirst) {
  make(nullptr, kRows, 0);
  const Made of_all = made(0, kRows);
  const std::vector<int32_t> picks = {7, 3, 249};
  make(picks.data(), 3, 100);
  for (size_t i = 0; i < picks.size(); ++i) {
    const Made picked = made(100 + static_cast<int64_t>(i), 1);
    make(nullptr, kRows, 0);
    EXPECT_EQ(made(picks[i], 1), picked) << i;
    make(picks.data(), 3, 100);
  }
  EXPECT_EQ(made(0, 100).f32, std::vector(of_all.f32.begin(), of_all.f32.begin() + 100 * kFf));
}

INSTANTIATE_TEST_SUITE_P(Threads, GatedTest, testing::Values(1, 3));

}  // namespace
}  // namespace flashmoe
