// What must hold between families and between the containers of one: the same model, stored in different ways, gives
// the same logits.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/bound_model.h"
#include "engine/model_report.h"
#include "engine/session_store.h"
#include "flashmoe/error.h"
#include "model/delta_state.h"
#include "support/golden.h"
#include "support/loaded_model.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

std::vector<int32_t> some_ids(int n, int vocab_size) {
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back((i * 97 + i * i * 31) % vocab_size);
  return ids;
}

TinyModelOptions tiny(TinyFamily family, TinyLayout layout) {
  TinyModelOptions o;
  o.family = family;
  o.layout = layout;
  o.n_value_heads = 6;
  if (family == TinyFamily::qwen3_moe) o.d_rotary = o.d_head;
  return o;
}

std::vector<float> logits_of(const TinyModelOptions& options, int64_t chunk = 80) {
  const TempDir dir;
  LoadedModel model(write_tiny_model(dir.path(), options), LoadOptions());
  return model.logits(some_ids(80, options.vocab_size), chunk);
}

TEST(FamiliesProperty, PackedProjectionsGiveTheModelTheyWerePackedFrom) {
  const auto plain = logits_of(tiny(TinyFamily::qwen3_5_moe, TinyLayout::hf_per_expert));
  for (const TinyLayout layout : {TinyLayout::hf_per_expert, TinyLayout::hf_stacked, TinyLayout::gguf}) {
    const auto packed = logits_of(tiny(TinyFamily::qwen3_next, layout));
    EXPECT_LE(relative_error(packed, plain), layout == TinyLayout::gguf ? 1e-6 : 0) << static_cast<int>(layout);
  }
}

TEST(FamiliesProperty, ContainersOfAnUngatedModelAgree) {
  const auto gguf = logits_of(tiny(TinyFamily::qwen3_moe, TinyLayout::gguf));
  EXPECT_EQ(relative_error(logits_of(tiny(TinyFamily::qwen3_moe, TinyLayout::hf_stacked)), gguf), 0);
  EXPECT_EQ(relative_error(logits_of(tiny(TinyFamily::qwen3_moe, TinyLayout::hf_per_expert)), gguf), 0);
}

TEST(FamiliesProperty, PrefillEqualsTokenByToken) {
  for (const TinyFamily family : {TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    const TinyModelOptions options = tiny(family, TinyLayout::gguf);
    EXPECT_LE(relative_error(logits_of(options, 1), logits_of(options, 80)), 1e-5) << static_cast<int>(family);
  }
}

TEST(FamiliesProperty, EveryTensorIsKnownAndEveryNameTakenFromTheFamily) {
  for (const TinyFamily family : {TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    for (const TinyLayout layout : {TinyLayout::gguf, TinyLayout::hf_stacked, TinyLayout::hf_per_expert}) {
      const TempDir dir;
      TinyModelOptions options = tiny(family, layout);
      options.with_mtp = family == TinyFamily::qwen3_next;
      const BoundModel model = bind_model(write_tiny_model(dir.path(), options));
      EXPECT_TRUE(model.binder->unused().names.empty()) << model.binder->unused().names.front();
      EXPECT_STREQ(model.family->name(), family == TinyFamily::qwen3_next ? "qwen3_next" : "qwen3_moe");
    }
  }
}

class PickedWeights : public Observer {
 public:
  void routed(int layer, std::span<const int32_t> experts, std::span<const float> weights) override {
    if (layer > 0) return;
    experts_.assign(experts.begin(), experts.end());
    weights_.assign(weights.begin(), weights.end());
  }
  std::vector<int32_t> experts_;
  std::vector<float> weights_;
};

// With every expert picked the weights are the whole softmax; three picks that keep it have its three largest.
TEST(FamiliesProperty, PicksKeepTheWeightsOfTheSoftmaxWhereTheModelSaysSo) {
  for (const TinyFamily family : {TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    TinyModelOptions options = tiny(family, TinyLayout::hf_stacked);
    const auto run = [&](int n_used, bool sum_to_one) {
      options.n_experts_used = n_used;
      options.picks_sum_to_one = sum_to_one;
      const TempDir dir;
      LoadedModel model(write_tiny_model(dir.path(), options), LoadOptions());
      PickedWeights seen;
      model.forward().set_observer(&seen);
      model.forward().step(some_ids(5, options.vocab_size), *model.new_sequence());
      return seen;
    };
    const PickedWeights all = run(options.n_experts, true), some = run(3, false);
    for (size_t i = 0; i < some.experts_.size(); ++i) {
      const size_t same = i / 3 * static_cast<size_t>(options.n_experts) + i % 3;
      EXPECT_EQ(some.experts_[i], all.experts_[same]);
      EXPECT_NEAR(some.weights_[i], all.weights_[same], 1e-6);
    }
  }
}

TEST(FamiliesProperty, AModelWithoutDeltaNetPaysNothingForIt) {
  const TempDir dir;
  const BoundModel bound = bind_model(write_tiny_model(dir.path(), tiny(TinyFamily::qwen3_moe, TinyLayout::gguf)));
  EXPECT_EQ(DeltaState::bytes(bound.family->config()), 0u);
  EXPECT_EQ(report_on(bound).state_bytes, 0u);

  LoadedModel model(dir.path() + "/model.gguf", LoadOptions());
  const auto ids = some_ids(12, 320);
  const auto continued = [&](Sequence& sequence) {
    model.forward().step(std::span(ids).last(2), sequence);
    const auto logits = model.forward().logits(1, 1);
    return std::vector<float>(logits.begin(), logits.end());
  };
  model.forward().set_blocks(DeltaBlocks({ids[9]}));
  SessionStore store(model.forward().blocks(), model.budget(), nullptr);
  const auto sequence = model.new_sequence();
  model.forward().step(std::span(ids).first(10), *sequence);
  store.keep(std::span(ids).first(10), *sequence);
  const auto straight = continued(*sequence);
  const auto resumed = model.new_sequence();
  ASSERT_EQ(store.resume(ids, *resumed), 10);
  EXPECT_EQ(continued(*resumed), straight);
}

TEST(FamiliesProperty, SettingsThatAreNotComputedAreRefusedByName) {
  for (const TinyFamily family : {TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    const TempDir dir;
    const std::string folder = write_tiny_model(dir.path(), tiny(family, TinyLayout::hf_stacked));
    const std::string good = read_bytes(dir / "config.json");
    for (const std::string setting :
         {R"("mlp_only_layers": [1])", R"("decoder_sparse_step": 2)", R"("use_sliding_window": true)",
          R"("rope_scaling": {"rope_type": "yarn"})", R"("attention_bias": true)", R"("hidden_act": "gelu")"}) {
      const std::string name = setting.substr(0, setting.find(':'));
      std::string config = good;
      for (size_t at = 0; (at = config.find(name, at)) != std::string::npos; ++at) config.replace(at, 2, "\"x");
      config.insert(config.find('{') + 1, setting + ",");
      dir.write("config.json", config);
      try {
        bind_model(folder);
        ADD_FAILURE() << setting << " was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::unsupported);
        EXPECT_NE(std::string(error.what()).find(name.substr(1, name.size() - 2)), std::string::npos) << error.what();
      }
    }
  }
}

TEST(FamiliesProperty, AbsurdDimensionsAreRefused) {
  for (const TinyFamily family : {TinyFamily::qwen3_5_moe, TinyFamily::qwen3_next, TinyFamily::qwen3_moe}) {
    const TempDir dir;
    const std::string folder = write_tiny_model(dir.path(), tiny(family, TinyLayout::hf_stacked));
    const auto good = nlohmann::json::parse(read_bytes(dir / "config.json"));
    const auto expect_refused = [&](const nlohmann::json& change) {
      nlohmann::json config = good;
      config.merge_patch(change);
      dir.write("config.json", config.dump());
      try {
        bind_model(folder);
        ADD_FAILURE() << change << " was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::input) << error.what();
      }
    };
    for (const char* change :
         {R"({"hidden_size": 0})", R"({"num_hidden_layers": 99999999})", R"({"num_experts_per_tok": 9})",
          R"({"num_key_value_heads": 3})", R"({"head_dim": 1048576})",
          R"({"num_attention_heads": 4096, "head_dim": null})", R"({"vocab_size": -1})", R"({"num_experts": null})",
          R"({"rope_theta": null, "rope_parameters": null})", R"({"mlp_only_layers": "all"})"}) {
      expect_refused(nlohmann::json::parse(change));
    }
    if (family == TinyFamily::qwen3_moe) continue;
    for (const char* change :
         {R"({"linear_num_key_heads": 4})", R"({"linear_num_value_heads": 1048576, "linear_num_key_heads": 1048576})",
          R"({"linear_key_head_dim": 1048576})", R"({"layer_types": []})"}) {
      expect_refused(nlohmann::json::parse(change));
    }
  }
}

}  // namespace
}  // namespace flashmoe
