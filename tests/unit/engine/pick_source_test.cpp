#include "engine/pick_source.h"

#include <gtest/gtest.h>

#include <set>

#include "experts/trace_reader.h"
#include "support/expect_error.h"
#include "support/made_up_trace.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

ExpertTable table(int n_layers, int n_experts, int n_used) {
  ExpertTable t;
  t.n_layers = n_layers;
  t.n_experts = n_experts;
  t.n_used = n_used;
  return t;
}

TEST(DrawnPicks, AreDistinctAndEveryExpertAsLikely) {
  const auto picks = draw_picks(table(3, 12, 4), 4, 1);
  std::vector<int> n(12);
  TraceStep step;
  for (int token = 0; token < 1000; ++token) {
    picks->next(step);
    ASSERT_EQ(step.n_rows, 1);
    ASSERT_EQ(step.layers.size(), 3u);
    for (const TraceLayer& layer : step.layers) {
      ASSERT_EQ(layer.experts.size(), 4u);
      EXPECT_EQ(std::set<int32_t>(layer.experts.begin(), layer.experts.end()).size(), 4u);
      for (const int32_t expert : layer.experts) ++n.at(static_cast<size_t>(expert));
    }
  }
  for (const int count : n) EXPECT_NEAR(count, 1000, 130);  // four deviations
}

TEST(DrawnPicks, TheSeedDecides) {
  const ExpertTable t = table(2, 64, 8);
  const auto a = draw_picks(t, 8, 7), b = draw_picks(t, 8, 7), c = draw_picks(t, 8, 8);
  TraceStep of_a, of_b, of_c;
  for (int token = 0; token < 10; ++token) {
    a->next(of_a);
    b->next(of_b);
    c->next(of_c);
    EXPECT_EQ(of_a.layers[1].experts, of_b.layers[1].experts);
    EXPECT_NE(of_a.layers[1].experts, of_c.layers[1].experts);
  }
}

class ReplayedPicks : public testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = made_up_trace(dir_ / "t", 5);  // 3 layers, 2 of 12 experts
};

TEST_F(ReplayedPicks, AreTheDecodedTokensInTurn) {
  const auto picks = replay_picks(path_, table(3, 12, 2), 2, 8);
  TraceStep step;
  for (uint64_t i = 0; i < 12; ++i) {
    picks->next(step);
    EXPECT_EQ(step.layers[2].experts, made_up_step(made_up_header(), i % 5 + 1, 1, true).layers[2].experts);
    EXPECT_EQ(picks->rounds(), i / 5);
  }
}

TEST_F(ReplayedPicks, FewerAreTheBest) {
  const auto picks = replay_picks(path_, table(3, 12, 2), 1, 8);
  TraceStep step;
  picks->next(step);
  const int32_t best = made_up_step(made_up_header(), 1, 1, true).layers[0].experts[0];
  EXPECT_EQ(step.layers[0].experts, std::vector<int32_t>{best});
}

TEST_F(ReplayedPicks, OfAnotherModelAreRefused) {
  for (const ExpertTable& t : {table(4, 12, 2), table(3, 8, 2)}) {
    expect_error([&] { replay_picks(path_, t, 2, 8); }, Fault::input, {path_, "12 experts in 3 layers"});
  }
  expect_error([&] { replay_picks(path_, table(3, 12, 3), 3, 8); }, Fault::input, {"2 picks", "needs 3"});
  TraceStep step;
  expect_error([&] { replay_picks(path_, table(3, 12, 2), 2, 0)->next(step); }, Fault::input, {"1 rows"});
}

}  // namespace
}  // namespace flashmoe
