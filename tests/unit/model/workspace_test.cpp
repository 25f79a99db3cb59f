#include "model/workspace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace flashmoe {
namespace {

ModelConfig one_layer() {
  ModelConfig config;
  config.n_layers = 1;
  config.layer_is_attention = {true};
  config.d_model = 256;
  config.vocab_size = 64;
  config.n_experts = 8;
  config.n_experts_used = 2;
  config.d_ff_expert = 64;
  config.d_ff_shared = 96;
  config.attention = {1, 1, 16, 4, 1e4};
  return config;
}

constexpr WorkspaceShape kShape = {.max_rows = 512, .n_threads = 3};

TEST(Workspace, IsLaidOutForTheRowsOfAStep) {
  Budget budget;
  budget.allot(Allotted::workspace, Workspace::bytes(one_layer(), kShape));
  Workspace ws(one_layer(), kShape, budget);
  for (const int64_t rows : {1, 512, 40}) {
    ws.fit(rows);
    EXPECT_GE(ws.n(), rows);
    EXPECT_EQ(ws.x.size(), static_cast<size_t>(ws.n() * 256));
    EXPECT_EQ(ws.guess.h.size(), static_cast<size_t>(std::min(ws.n(), kSampledRows) * 256));
    ASSERT_EQ(ws.gated_scratch.size(), 3U);
    for (const GatedScratch& scratch : ws.gated_scratch) {
      EXPECT_EQ(scratch.rows, std::min(ws.n(), kGatedRows));
      EXPECT_EQ(scratch.x.q8.size(), static_cast<size_t>(scratch.rows * 256));
      EXPECT_EQ(scratch.up.size(), static_cast<size_t>(scratch.rows * 96)) << "the shared expert's is the wider one";
    }
  }
}

// What a short step leaves goes back where somebody may borrow it, and is kept where nobody does.
TEST(Workspace, GivesBackWhatIsLent) {
  const uint64_t bytes = Workspace::bytes(one_layer(), kShape);
  for (const bool lent : {false, true}) {
    Budget budget;
    budget.allot(Allotted::workspace, bytes);
    if (lent) budget.lend(bytes);
    Workspace ws(one_layer(), kShape, budget);
    ASSERT_EQ(budget.used(Allotted::workspace), bytes);
    ws.fit(1);
    const uint64_t left = budget.used(Allotted::workspace);
    EXPECT_TRUE(lent ? left < bytes / 4 : left == bytes) << left << " of " << bytes;
    ws.fit(512);
    EXPECT_EQ(budget.used(Allotted::workspace), bytes);
  }
}

}  // namespace
}  // namespace flashmoe
