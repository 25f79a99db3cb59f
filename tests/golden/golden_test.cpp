// The forward pass against the reference implementation, through every kernel table this machine runs.
#include "support/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <set>

#include "support/converted_gguf.h"
#include "support/loaded_model.h"
#include "support/shared_data.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr double kExactBound = 1e-4;
constexpr double kFastBound = 5e-2;
constexpr double kFastMeanBound = 2.5e-2;
constexpr double kFirstLayerBound = 1.2e-2;  // of the median token

struct Case {
  std::string name, model, golden;
  std::optional<ConvertedForm> converted = {};  // to this GGUF, which the test then runs
};
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

// GGUF files to make of a Hugging Face golden: its own are too large to come with the project.
std::vector<std::pair<std::string, ConvertedForm>> conversions(const std::string& name) {
  if (name == "qwen3_moe") return {{"qwen3_moe_gguf", ConvertedForm::current}};
  if (name != "qwen3_next") return {};
  return {{"qwen3_next_gguf", ConvertedForm::current}, {"qwen3_next_gguf_packed_rows", ConvertedForm::packed_rows}};
}

// Every reference checkpoint that is here: those that come with the project, and all others when they lie beside it.
std::vector<Case> cases() {
  namespace fs = std::filesystem;
  std::vector<Case> found;
  std::set<std::string> names;
  const auto add = [&](const fs::path& root) {
    if (!fs::exists(root)) return;
    for (const char* name :
         {"qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_moe_256", "qwen3_5_moe_mlx4", "qwen3_next", "qwen3_moe"}) {
      const fs::path folder = root / name;
      if (fs::exists(folder / "golden.safetensors") && names.insert(name).second) {
        found.push_back({name, folder, folder / "golden.safetensors"});
        for (const auto& [converted, form] : conversions(name)) {
          found.push_back({converted, folder, folder / "golden.safetensors", form});
        }
      }
    }
    for (const char* type : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M",
                             "Q5_K_M", "Q6_K", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4"}) {
      const fs::path model = root / "gguf" / (std::string(type) + ".gguf");
      if (fs::exists(model) && names.insert(type).second) {
        found.push_back({type, model, root / "gguf" / (std::string(type) + ".golden.safetensors")});
      }
    }
  };
  add(fs::path(FLASHMOE_TEST_DATA) / "goldens");
  if (const auto shared = shared_path("goldens")) {
    add(*shared);
  } else {
    std::cout << "the full set of goldens is not beside the project; testing those that come with it\n";
  }
  if (const auto spark = shared_path("spark/hf")) found.push_back({"spark", *spark, *spark + "/golden.safetensors"});
  return found;
}

// Records what the model sees on its way.
class Recorder : public Observer {
 public:
  void hidden(int index, std::span<const float> x) override {
    hidden_[index].insert(hidden_[index].end(), x.begin(), x.end());
  }
  void routed(int layer, std::span<const int32_t> experts, std::span<const float>) override {
    picks_[layer].insert(picks_[layer].end(), experts.begin(), experts.end());
  }
  std::map<int, std::vector<float>> hidden_;
  std::map<int, std::vector<int32_t>> picks_;
};

// Errors of single tokens; values and reference [T, width].
std::vector<double> token_errors(const std::vector<float>& values, const std::vector<float>& reference,
                                 int64_t n_tokens) {
  const auto width = static_cast<std::ptrdiff_t>(reference.size()) / n_tokens;
  std::vector<double> errors;
  for (std::ptrdiff_t at = 0; at < static_cast<std::ptrdiff_t>(reference.size()); at += width) {
    const auto first = values.begin() + at, of_reference = reference.begin() + at;
    errors.push_back(relative_error({first, first + width}, {of_reference, of_reference + width}));
  }
  return errors;
}

double median(std::vector<double> errors) {
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return *middle;
}

// Whether a token picks the reference's experts, in any order, in all layers.
std::vector<bool> tokens_with_same_picks(const Recorder& seen, const Golden& golden) {
  std::vector<bool> same(static_cast<size_t>(golden.n_tokens()), true);
  for (const auto& [layer, reference] : golden.router_topk) {
    const std::vector<int32_t>& picks = seen.picks_.at(layer);
    const auto k = static_cast<std::ptrdiff_t>(reference.size() / same.size());
    for (size_t t = 0; t < same.size(); ++t) {
      const auto at = static_cast<std::ptrdiff_t>(t) * k;
      const std::set<int32_t> ours(picks.begin() + at, picks.begin() + at + k);
      same[t] = same[t] && ours == std::set<int32_t>(reference.begin() + at, reference.begin() + at + k);
    }
  }
  return same;
}

class GoldenTest : public testing::TestWithParam<std::tuple<std::string, Case>> {
 protected:
  LoadOptions options(bool exact) const {
    LoadOptions o;
    o.kernels = std::get<0>(GetParam());
    o.exact = exact;
    o.kv = exact ? KvFormat::f32 : KvFormat::f16;
    o.n_threads = 2;
    return o;
  }
  const Case& which() const { return std::get<1>(GetParam()); }
  std::string model_path() const {
    if (!which().converted) return which().model;
    return write_converted_gguf(which().model, dir_.path(), *which().converted);
  }
  bool runs_here() const { return kernels_by_name(std::get<0>(GetParam())).has_value(); }

 private:
  TempDir dir_;
};

TEST_P(GoldenTest, ExactModeEqualsTheReference) {
  if (!runs_here()) GTEST_SKIP() << "this machine cannot run the kernels " << std::get<0>(GetParam());
  const Golden golden = read_golden(which().golden);
  LoadedModel model(model_path(), options(true));
  Recorder seen;
  model.forward().set_observer(&seen);
  const auto logits = model.logits(golden.input_ids, 128);
  model.forward().set_observer(nullptr);
  for (const auto& [index, reference] : golden.hidden) {
    EXPECT_LE(relative_error(seen.hidden_[index], reference), kExactBound) << "hidden." << index;
  }
  for (const auto& [layer, reference] : golden.router_topk)
    EXPECT_EQ(seen.picks_[layer], reference) << "layer " << layer;
  EXPECT_LE(relative_error(logits, golden.logits), kExactBound);
  EXPECT_EQ(model.greedy(golden.input_ids, golden.greedy.size()), golden.greedy);
}

// Two checkpoints exceed kFastBound over all tokens, with every kernel table alike, because a token that picks another
// expert is another token from there on (docs/experiments/0006-what-8-bit-activations-cost.md). IQ4_NL: one token of
// 70, in the last layer. qwen3_5_moe_mlx4: 19 of 70, whose states all later tokens read. They are bounded like all
// others after the first layer and over the tokens that pick the same experts.
TEST_P(GoldenTest, Int8ActivationsStayWithinBounds) {
  if (!runs_here()) GTEST_SKIP() << "this machine cannot run the kernels " << std::get<0>(GetParam());
  const Golden golden = read_golden(which().golden);
  LoadedModel model(model_path(), options(false));
  Recorder seen;
  model.forward().set_observer(&seen);
  const std::vector<float> logits = model.logits(golden.input_ids, 128);
  model.forward().set_observer(nullptr);
  const double error = relative_error(logits, golden.logits);
  RecordProperty("relative_error", std::to_string(error));
  const bool is_deep = which().name == "qwen3_5_moe_mlx4";
  EXPECT_LE(error, is_deep ? 0.13 : which().name == "IQ4_NL" ? 6e-2 : kFastBound);
  if (const auto after_one = golden.hidden.find(1); after_one != golden.hidden.end()) {
    EXPECT_LE(median(token_errors(seen.hidden_[1], after_one->second, golden.n_tokens())), kFirstLayerBound);
  }
  const std::vector<double> errors = token_errors(logits, golden.logits, golden.n_tokens());
  EXPECT_LE(median(errors), is_deep ? kFastBound : kFastMeanBound);
  const std::vector<bool> same = tokens_with_same_picks(seen, golden);
  double squares = 0;
  int64_t n_same = 0;
  for (size_t t = 0; t < errors.size(); ++t) {
    if (!same[t]) continue;
    squares += errors[t] * errors[t];
    ++n_same;
  }
  EXPECT_GE(n_same, is_deep ? golden.n_tokens() * 2 / 3 : golden.n_tokens() * 9 / 10);
  EXPECT_LE(std::sqrt(squares / static_cast<double>(n_same)), is_deep ? kFastBound : kFastMeanBound);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         testing::Combine(testing::Values("scalar", "avx2", "avxvnni", "avx512", "neon"),
                                          testing::ValuesIn(cases())),
                         [](const auto& test) { return std::get<0>(test.param) + "_" + std::get<1>(test.param).name; });

TEST(GoldenMeanTest, Int8ActivationsStayWithinBoundsOnAverage) {
  for (const KvFormat kv : {KvFormat::f16, KvFormat::q8}) {
    const char* cache = kv == KvFormat::f16 ? "f16" : "q8";
    double sum = 0;
    int n = 0;
    for (const Case& which : cases()) {
      if (!which.model.ends_with(".gguf")) continue;
      const Golden golden = read_golden(which.golden);
      LoadOptions options;
      options.kernels = best_kernels().name;
      options.exact = false;
      options.kv = kv;
      LoadedModel model(which.model, options);
      const double error = relative_error(model.logits(golden.input_ids, 128), golden.logits);
      std::cout << "int8 activations, " << cache << " cache, " << which.name << ": relative error " << error << "\n";
      sum += error;
      ++n;
    }
    ASSERT_GT(n, 0);
    std::cout << "int8 activations, " << cache << " cache, mean: " << sum / n << "\n";
    EXPECT_LE(sum / n, kFastMeanBound) << cache;
  }
}

}  // namespace
}  // namespace flashmoe
