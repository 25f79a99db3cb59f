#include <gtest/gtest.h>

#include <algorithm>

#include "engine/bound_model.h"
#include "flashmoe/error.h"
#include "support/gguf_writer.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

std::string error_of(const std::string& path, Fault fault) {
  try {
    bind_model(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), fault) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// Renames a tensor in a GGUF by replacing bytes of equal length.
std::string with_replaced(const TempDir& dir, const std::string& path,
                          std::vector<std::pair<std::string, std::string>> edits) {
  std::string bytes = read_bytes(path);
  for (const auto& [from, to] : edits) {
    EXPECT_EQ(from.size(), to.size());
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bytes.replace(at, from.size(), to);
  }
  return dir.write("edited.gguf", bytes);
}

TEST(BinderTest, BindsEveryTensorOfAFullModel) {
  for (const TinyLayout layout : {TinyLayout::gguf, TinyLayout::hf_stacked, TinyLayout::hf_per_expert}) {
    const TempDir dir;
    TinyModelOptions tiny;
    tiny.layout = layout;
    tiny.with_mtp = true;
    tiny.with_vision = layout != TinyLayout::gguf;
    const BoundModel model = bind_model(write_tiny_model(dir.path(), tiny));
    EXPECT_TRUE(model.binder->unused().names.empty()) << model.binder->unused().names.front();
    EXPECT_EQ(model.experts.records.size(), static_cast<size_t>(tiny.n_layers * tiny.n_experts));
    EXPECT_EQ(model.family->config().n_layers, tiny.n_layers);
  }
}

TEST(BinderTest, ListsAllMissingTensorsAtOnce) {
  const TempDir dir;
  const auto path = with_replaced(
      dir, write_tiny_model(dir.path(), {}),
      {{"blk.0.ssm_norm.weight", "blk.0.ssm_nope.weight"}, {"blk.3.attn_k.weight", "blk.3.attn_x.weight"}});
  const std::string message = error_of(path, Fault::input);
  EXPECT_NE(message.find("blk.0.ssm_norm.weight is missing"), std::string::npos) << message;
  EXPECT_NE(message.find("blk.3.attn_k.weight is missing"), std::string::npos) << message;
}

// A head of a type that is not run is no reason to take the embedding for one.
TEST(BinderTest, NamesAnOutputOfAnUnknownType) {
  const TempDir dir;
  std::string bytes = read_bytes(write_tiny_model(dir.path(), TinyModelOptions().with_k_quant_dims()));
  const std::string name = gguf_string("output.weight");
  const size_t type = bytes.find(name) + name.size() + sizeof(uint32_t) + 2 * sizeof(uint64_t);
  bytes.replace(type, sizeof(uint32_t), gguf_number(uint32_t{35}));
  const std::string message = error_of(dir.write("edited.gguf", bytes), Fault::unsupported);
  EXPECT_NE(message.find("output.weight: of format TQ2_0"), std::string::npos) << message;
}

TEST(BinderTest, ReportsTensorsThatNothingUses) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.with_mtp = true;
  const BoundModel model = bind_model(with_replaced(dir, write_tiny_model(dir.path(), tiny),
                                                    {{"blk.4.nextn.enorm.weight", "blk.9.strange.one.weight"}}));
  const Binder::Unused unused = model.binder->unused();
  EXPECT_EQ(unused.names, std::vector<std::string>{"blk.9.strange.one.weight"});
  EXPECT_EQ(unused.bytes, model.checkpoint->find("blk.9.strange.one.weight")->all_bytes());
  const auto ignored = model.binder->ignored();
  ASSERT_EQ(ignored.size(), 1u);
  uint64_t draft_bytes = 0;
  for (const auto& [name, tensor] : model.checkpoint->tensors()) {
    if (name.starts_with("blk.4.")) draft_bytes += tensor.all_bytes();
  }
  EXPECT_EQ(ignored.at("draft head"), draft_bytes);
}

TEST(BinderTest, NamesAnUnknownFamily) {
  const TempDir dir;
  std::string bytes = read_bytes(write_tiny_model(dir.path(), {}));
  for (size_t at = 0; (at = bytes.find("qwen35moe", at)) != std::string::npos;) bytes.replace(at, 9, "mammoth7b");
  const std::string message = error_of(dir.write("edited.gguf", bytes), Fault::unsupported);
  EXPECT_NE(message.find("'mammoth7b'"), std::string::npos) << message;
  EXPECT_NE(message.find("qwen35moe"), std::string::npos) << message;
}

TEST(BinderTest, RefusesShapesThatDoNotFitTheDimensions) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_stacked;
  const std::string folder = write_tiny_model(dir.path(), tiny);
  std::string config = read_bytes(dir / "config.json");
  const size_t at = config.find("\"num_experts\"");
  ASSERT_NE(at, std::string::npos);
  const size_t digit = config.find('8', at);
  config[digit] = '9';
  dir.write("config.json", config);
  const std::string message = error_of(folder, Fault::input);
  EXPECT_NE(message.find("mlp.gate.weight has shape [8, 64], expected [9, 64]"), std::string::npos) << message;
}

TEST(BinderTest, RefusesAbsurdDimensions) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_stacked;
  const std::string folder = write_tiny_model(dir.path(), tiny);
  const std::string good = read_bytes(dir / "config.json");
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"hidden_size", "-1"},
                                                                                   {"num_hidden_layers", "99999999"},
                                                                                   {"num_experts_per_tok", "99"},
                                                                                   {"num_attention_heads", "3"},
                                                                                   {"head_dim", "1e30"},
                                                                                   {"vocab_size", "\"many\""},
                                                                                   {"linear_conv_kernel_dim", "5"}}) {
    std::string config = good;
    const size_t at = config.find("\"" + key + "\"");
    ASSERT_NE(at, std::string::npos) << key;
    const size_t begin = config.find(':', at) + 1, end = config.find_first_of(",}\n", begin);
    config.replace(begin, end - begin, value);
    dir.write("config.json", config);
    const std::string message = error_of(folder, Fault::input);
    EXPECT_NE(message.find(dir.path()), std::string::npos) << message;
  }
}

TEST(BinderTest, RefusesSettingsThatChangeTheArithmetic) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_stacked;
  const std::string folder = write_tiny_model(dir.path(), tiny);
  const std::string good = read_bytes(dir / "config.json");
  for (const std::string setting :
       {R"("hidden_act": "gelu")", R"("rope_parameters": {"rope_type": "yarn"})",
        R"("rope_scaling": {"type": "linear"})", R"("attention_bias": true)", R"("norm_topk_prob": false)",
        R"("attn_output_gate": false)", R"("quantization_config": {"quant_method": "awq"})"}) {
    const std::string name = setting.substr(0, setting.find(':'));
    std::string config = good;
    for (size_t at = 0; (at = config.find(name, at)) != std::string::npos; ++at) config.replace(at, 2, "\"x");
    config.insert(config.find('{') + 1, setting + ",");
    dir.write("config.json", config);
    const std::string message = error_of(folder, Fault::unsupported);
    EXPECT_NE(message.find(name.substr(1, name.size() - 2)), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace flashmoe
