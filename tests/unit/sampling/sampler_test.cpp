#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "flashmoe/error.h"
#include "support/allocation_count.h"

namespace flashmoe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<int32_t> draw(SamplingOptions options, const std::vector<float>& logits, int n) {
  std::vector<int32_t> ids;
  Sampler sampler(options, static_cast<int64_t>(logits.size()));
  for (int i = 0; i < n; ++i) ids.push_back(sampler.sample(logits));
  return ids;
}

// Pearson's statistic of n draws against softmax(logits / temperature) over `kept`; no other id may occur.
double chi_square(const SamplingOptions& options, const std::vector<float>& logits, const std::vector<int32_t>& kept) {
  constexpr int kDraws = 20000;
  std::vector<double> counts(logits.size());
  for (const int32_t id : draw(options, logits, kDraws)) counts[static_cast<size_t>(id)] += 1;
  double total = 0, statistic = 0, seen = 0;
  for (const int32_t id : kept)
    total += std::exp(double{logits[static_cast<size_t>(id)]} / double{options.temperature});
  for (const int32_t id : kept) {
    const auto at = static_cast<size_t>(id);
    const double expected = kDraws * std::exp(double{logits[at]} / double{options.temperature}) / total;
    statistic += (counts[at] - expected) * (counts[at] - expected) / expected;
    seen += counts[at];
  }
  EXPECT_EQ(seen, kDraws);
  return statistic;
}

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  EXPECT_EQ(draw({}, {1, 3, 2}, 2), (std::vector<int32_t>{1, 1}));
  EXPECT_EQ(draw({}, {1, 3, 3, 3}, 1)[0], 1);
  EXPECT_EQ(draw({}, {-5, -4, -4}, 1)[0], 1);
  EXPECT_EQ(draw({}, {0.0f, -0.0f}, 1)[0], 0);
  // The next float above wins: nothing is scaled or rounded.
  EXPECT_EQ(draw({}, {1, std::nextafter(1.0f, 2.0f), 1}, 1)[0], 1);
  EXPECT_EQ(draw({.seed = 99}, {0, 1}, 1)[0], 1);
}

TEST(SamplerTest, ExtremeLogits) {
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingOptions options{.temperature = temperature};
    EXPECT_EQ(draw(options, {kNan, -kInf, 2, kNan}, 1)[0], 2);
    EXPECT_EQ(draw(options, {1, kInf, 3}, 1)[0], 1);
    EXPECT_EQ(draw(options, {-3e38f, 3e38f}, 1)[0], 1);
    for (const auto& nothing : {std::vector<float>{kNan, kNan}, {-kInf, -kInf}, {kNan, -kInf}}) {
      try {
        draw(options, nothing, 1);
        ADD_FAILURE();
      } catch (const Error& error) {
        EXPECT_EQ(static_cast<int>(error.fault()), static_cast<int>(Fault::input));
      }
    }
  }
  const auto ids = draw({.temperature = 1}, {kInf, 5, kInf}, 100);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 0);
  EXPECT_GT(std::count(ids.begin(), ids.end(), 2), 20);
  EXPECT_EQ(draw({.temperature = 1e-40f}, {1, 2, 1.5f}, 1)[0], 1);
}

// 99.9 % points of chi-square: 4 degrees 18.5, 3 degrees 16.3, 2 degrees 13.8, 1 degree 10.8. The seeds are fixed.
TEST(SamplerTest, DrawsByWeight) {
  const std::vector<float> logits = {0.5f, 2, -1, 1.5f, 0};
  const std::vector<int32_t> all = {0, 1, 2, 3, 4};
  EXPECT_LT(chi_square({.temperature = 1, .seed = 1}, logits, all), 18.5);
  EXPECT_LT(chi_square({.temperature = 0.7f, .seed = 2}, logits, all), 18.5);
  EXPECT_LT(chi_square({.temperature = 3, .seed = 3}, logits, all), 18.5);
  EXPECT_LT(chi_square({.temperature = 1, .top_k = 3, .seed = 4}, logits, {0, 1, 3}), 13.8);
  EXPECT_LT(chi_square({.temperature = 1, .top_k = 50, .seed = 5}, logits, all), 18.5);
  // Weights: 7.39, 4.48, 1.65, 1, 0.37 of 14.89.
  EXPECT_LT(chi_square({.temperature = 1, .top_p = 0.75f, .seed = 6}, logits, {1, 3}), 10.8);
  EXPECT_LT(chi_square({.temperature = 1, .top_p = 0.95f, .seed = 7}, logits, {0, 1, 3, 4}), 16.3);
  EXPECT_LT(chi_square({.temperature = 1, .min_p = 0.2f, .seed = 8}, logits, {0, 1, 3}), 13.8);
  EXPECT_LT(chi_square({.temperature = 1, .top_k = 4, .top_p = 0.99f, .min_p = 0.2f, .seed = 9}, logits, {0, 1, 3}),
            13.8);
}

TEST(SamplerTest, FiltersComeInOrder) {
  // After temperature 2 the weights are e^1, e^0.5, 1: top-p 0.6 needs two of them; before it, one would do.
  const auto ids = draw({.temperature = 2, .top_p = 0.6f}, {2, 1, 0}, 200);
  EXPECT_GT(std::count(ids.begin(), ids.end(), 1), 20);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0);
  // top-p counts within top-k: 0.73 of the first two, 0.67 of all three.
  const auto within = draw({.temperature = 1, .top_k = 2, .top_p = 0.7f}, {2, 1, 0}, 200);
  EXPECT_EQ(std::count(within.begin(), within.end(), 0), 200);
  EXPECT_EQ(draw({.temperature = 1, .top_k = 1}, {1, 5, 5}, 1)[0], 1);
  EXPECT_EQ(draw({.temperature = 1, .top_p = 1e-6f}, {1, 5, 5}, 1)[0], 1);
}

TEST(SamplerTest, SeedsRepeat) {
  const std::vector<float> flat(1000);
  const SamplingOptions seven{.temperature = 1, .seed = 7}, eight{.temperature = 1, .seed = 8};
  EXPECT_EQ(draw(seven, flat, 50), draw(seven, flat, 50));
  EXPECT_NE(draw(seven, flat, 50), draw(eight, flat, 50));
  // splitmix64 from seed 0 starts with 0xE220A8397B1DCDAF, 0.8833 of 2^64.
  EXPECT_EQ(draw({.temperature = 1}, flat, 1)[0], 883);
}

TEST(SamplerTest, RepetitionPenaltyDividesAndMultiplies) {
  Sampler sampler({.repetition_penalty = 2}, 4);
  sampler.note_prompt(std::vector<int32_t>{0});
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 1.6f, -1, -1}), 1);    // 1.5 against 1.6
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 1.4f, -1}), 0);     // 1.5, 1, 1.4
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1, -3, -1.9f}), 3);  // -2, -2, -3, -1.9
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1, -1.9f, -1}), 2);  // -2, -2, -1.9, -2
  EXPECT_EQ(sampler.sample(std::vector<float>{2, 2, 2, 2}), 0);         // once, however often it came
}

TEST(SamplerTest, PresenceAndFrequencyCountGeneratedTokensOnly) {
  Sampler presence({.presence_penalty = 1}, 2);
  presence.note_prompt(std::vector<int32_t>{0});
  const std::vector<float> close = {2, 0.5f};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(presence.sample(close), 0);  // 1 against 0.5, from the second on
  EXPECT_EQ(presence.sample(std::vector<float>{2, 1.5f}), 1);

  Sampler frequency({.frequency_penalty = 0.5f}, 2);
  std::vector<int32_t> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(frequency.sample(std::vector<float>{2, 0.75f}));
  // Token 0 stands at 2, 1.5, 1, 0.5; then 0.5 against token 1 at 0.25; then 0 against 0.25.
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 0, 0, 1, 0, 1}));

  Sampler both({.repetition_penalty = 2, .presence_penalty = 1, .frequency_penalty = 0.25f}, 2);
  EXPECT_EQ(both.sample(std::vector<float>{4, 0.7f}), 0);
  EXPECT_EQ(both.sample(std::vector<float>{4, 0.74f}), 0);  // 4 / 2 - 1 - 0.25 = 0.75
  EXPECT_EQ(both.sample(std::vector<float>{4, 0.51f}), 1);  // 4 / 2 - 1 - 0.5 = 0.5
}

TEST(SamplerTest, PenaltiesActOnDrawsToo) {
  Sampler sampler({.temperature = 1, .top_k = 1, .repetition_penalty = 10}, 3);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 1}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 1}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 1}), 2);
}

TEST(SamplerTest, OptionsOutOfRangeAreNamed) {
  const auto refused = [](const SamplingOptions& options, const std::string& name) {
    try {
      Sampler sampler(options, 10);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.fault()), static_cast<int>(Fault::usage));
      EXPECT_TRUE(std::string(error.what()).starts_with(name)) << error.what();
    }
  };
  for (const float bad : {-1.0f, kNan, kInf}) refused({.temperature = bad}, "temperature");
  refused({.top_k = -1}, "top_k");
  for (const float bad : {0.0f, -0.5f, 1.01f, kNan}) refused({.top_p = bad}, "top_p");
  for (const float bad : {-0.1f, 1.1f, kNan}) refused({.min_p = bad}, "min_p");
  for (const float bad : {0.0f, -1.0f, kNan, kInf}) refused({.repetition_penalty = bad}, "repetition_penalty");
  for (const float bad : {kNan, kInf, -kInf}) refused({.presence_penalty = bad}, "presence_penalty");
  for (const float bad : {kNan, kInf, -kInf}) refused({.frequency_penalty = bad}, "frequency_penalty");
  Sampler sampler({}, 10);
  EXPECT_THROW(sampler.note_prompt(std::vector<int32_t>{10}), Error);
  EXPECT_THROW(sampler.note_prompt(std::vector<int32_t>{-1}), Error);
}

TEST(SamplerTest, SampleAllocatesNothing) {
  std::mt19937 random(3);
  std::vector<float> logits(20000);
  for (float& logit : logits) logit = static_cast<float>(random() % 4096) / 256.0f;
  for (const SamplingOptions& options :
       {SamplingOptions{}, SamplingOptions{.temperature = 1}, SamplingOptions{.temperature = 1, .top_k = 40},
        SamplingOptions{.temperature = 1, .top_k = 5000, .top_p = 0.99f, .min_p = 0.01f},
        SamplingOptions{.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1.1f, .presence_penalty = 1}}) {
    Sampler sampler(options, static_cast<int64_t>(logits.size()));
    const uint64_t before = allocation_count();
    for (int i = 0; i < 10; ++i) sampler.sample(logits);
    EXPECT_EQ(allocation_count(), before);
  }
}

}  // namespace
}  // namespace flashmoe
