#include "eval/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/expect_error.h"

namespace flashmoe {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

TEST(Scores, SurpriseIsThatOfTheSoftmax) {
  EXPECT_NEAR(surprise(std::vector<float>{0, 0, 0, 0}, 2), std::log(4.0), 1e-12);
  EXPECT_NEAR(surprise(std::vector<float>{1000, 999, -kInfinity}, 1), std::log(1 + std::exp(1.0)), 1e-12);
}

TEST(Scores, DivergenceFromItselfIsNone) {
  const std::vector<float> logits = {1, -2, 0.5F};
  EXPECT_EQ(divergence(logits, logits).nats, 0);
  EXPECT_TRUE(divergence(logits, logits).same_top);
  EXPECT_NEAR(divergence(std::vector<float>{0, 0}, std::vector<float>{std::log(3.0F), 0}).nats,
              0.5 * std::log(2.0 / 3) + 0.5 * std::log(2.0), 1e-7);
}

TEST(Scores, LogitsThatAreNoNumbersAreNotScored) {
  const std::vector<float> good = {0, 1, 2};
  for (const std::vector<float>& bad :
       {std::vector<float>{0, kNan, 1}, std::vector<float>{kNan, kNan, kNan},
        std::vector<float>{-kInfinity, -kInfinity, -kInfinity}, std::vector<float>{0, kInfinity, 0}}) {
    expect_error([&] { surprise(bad, 0); }, Fault::input, {"logits of the model are NaN or infinite"});
    expect_error([&] { divergence(bad, good); }, Fault::input, {"logits of the reference are NaN or infinite"});
    expect_error([&] { divergence(good, bad); }, Fault::input, {"logits of the model are NaN or infinite"});
  }
}

}  // namespace
}  // namespace flashmoe
