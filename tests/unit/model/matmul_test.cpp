#include "model/matmul.h"

#include <gtest/gtest.h>

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
  Workspace ws(config, {8, true, false}, budget);
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

// Groups of activations are quantised together, however rows are shared out.
TEST(MatmulTest, GatedPiecesMakeWholeGroups) {
  const ModelConfig config = one_layer();
  const int64_t d_ff = config.d_ff_expert, n = 8;
  Budget budget;
  budget.allot(Allotted::workspace, 1ULL << 30);
  Workspace ws(config, {n, true, false}, budget);
  Profile profile;
  NoExperts experts;
  const std::string gate = random_blocks(Format::q4_k, d_ff * 256, 1.0F, 1);
  const std::string up = random_blocks(Format::q4_k, d_ff * 256, 1.0F, 2);
  const auto view = [&](const std::string& w) {
    return MatrixView{reinterpret_cast<const std::byte*>(w.data()), d_ff, 256, Format::q4_k};
  };
  for (const int n_threads : {1, 3}) {
    ThreadPool pool(n_threads);
    Step step{config, best_kernels(), pool, experts, ws, profile, nullptr, false, {}};
    for (size_t i = 0; i < ws.h.f32.size(); ++i) ws.h.f32[i] = static_cast<float>(i % 17) - 8.0F;
    quantise(step, ws.h, 0, n);
    std::vector<float> gate_y(static_cast<size_t>(n * d_ff)), up_y = gate_y;
    ActivationBuffer& act = ws.moe.act;
    const GatedTask task = {view(gate), view(up), ws.h.rows(0, n), gate_y.data(), up_y.data(), &act, 0};
    matmul(step, {}, {&task, 1});
    const auto first = [&](const auto& values, int64_t count) {
      return std::vector(values.begin(), values.begin() + count);
    };
    const auto q8 = first(act.q8, n * d_ff);
    const auto scale = first(act.scale, n * d_ff / kActivationBlock);
    quantise(step, act, 0, n);
    EXPECT_EQ(q8, first(act.q8, n * d_ff)) << n_threads;
    EXPECT_EQ(scale, first(act.scale, n * d_ff / kActivationBlock)) << n_threads;
  }
}

}  // namespace
}  // namespace flashmoe
