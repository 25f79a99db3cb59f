// The generated models that other tests rest on are what they claim to be.
#include "support/tiny_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

std::vector<float> values_of(const Checkpoint& model, std::string_view name) {
  const TensorInfo* tensor = model.find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  std::vector<std::byte> bytes(tensor->bytes);
  model.files()[tensor->file]->read(tensor->offset, bytes);
  std::vector<float> values(static_cast<size_t>(tensor->n_values()));
  format_info(tensor->format).decode({bytes.data()}, 0, tensor->n_values(), values.data());
  return values;
}

std::unique_ptr<Checkpoint> write_and_open(const TempDir& folder, const TinyModelOptions& options) {
  return Checkpoint::open(write_tiny_model(folder.path(), options));
}

TinyModelOptions three_values_to_a_key(TinyLayout layout) {
  TinyModelOptions options;
  options.layout = layout;
  options.n_value_heads = 6;
  options.with_mtp = true;
  return options;
}

TEST(TinyModel, LayoutsOfHuggingFaceHoldTheSameExperts) {
  const TempDir a, b;
  const auto stacked = write_and_open(a, three_values_to_a_key(TinyLayout::hf_stacked));
  const auto apart = write_and_open(b, three_values_to_a_key(TinyLayout::hf_per_expert));
  for (const std::string layer : {"model.layers.2.", "mtp.layers.0."}) {
    const std::vector<float> gate_up = values_of(*stacked, layer + "mlp.experts.gate_up_proj");
    const std::vector<float> gate = values_of(*apart, layer + "mlp.experts.5.gate_proj.weight");
    const std::vector<float> up = values_of(*apart, layer + "mlp.experts.5.up_proj.weight");
    ASSERT_EQ(gate.size(), 32u * 64);
    const auto expert = gate_up.begin() + 5 * 2 * 32 * 64;
    EXPECT_TRUE(std::equal(gate.begin(), gate.end(), expert));
    EXPECT_TRUE(std::equal(up.begin(), up.end(), expert + 32 * 64));
  }
}

TEST(TinyModel, GgufHoldsTheSameModelInItsOwnConventions) {
  const TempDir a, b;
  const auto hf = write_and_open(a, three_values_to_a_key(TinyLayout::hf_stacked));
  const auto gguf = write_and_open(b, three_values_to_a_key(TinyLayout::gguf));
  EXPECT_EQ(values_of(*hf, "model.embed_tokens.weight"), values_of(*gguf, "token_embd.weight"));
  EXPECT_EQ(values_of(*hf, "model.layers.3.self_attn.q_proj.weight"), values_of(*gguf, "blk.3.attn_q.weight"));
  EXPECT_EQ(values_of(*hf, "mtp.fc.weight"), values_of(*gguf, "blk.4.nextn.eh_proj.weight"));
  EXPECT_EQ(values_of(*hf, "model.layers.0.linear_attn.norm.weight"), values_of(*gguf, "blk.0.ssm_norm.weight"));
  const std::vector<float> norm = values_of(*hf, "model.layers.0.input_layernorm.weight");
  const std::vector<float> factor = values_of(*gguf, "blk.0.attn_norm.weight");
  for (size_t i = 0; i < norm.size(); ++i) EXPECT_EQ(1.0f + norm[i], factor[i]);
  // Two key heads, six value heads: tiled head p reads key head p % 2, so it is grouped head (p % 2) * 3 + p / 2.
  const std::vector<float> a_log = values_of(*hf, "model.layers.0.linear_attn.A_log");
  const std::vector<float> ssm_a = values_of(*gguf, "blk.0.ssm_a");
  const std::vector<float> z = values_of(*hf, "model.layers.0.linear_attn.in_proj_z.weight");
  const std::vector<float> gate = values_of(*gguf, "blk.0.attn_gate.weight");
  const std::vector<float> out = values_of(*hf, "model.layers.0.linear_attn.out_proj.weight");
  const std::vector<float> ssm_out = values_of(*gguf, "blk.0.ssm_out.weight");
  const std::vector<float> conv = values_of(*hf, "model.layers.0.linear_attn.conv1d.weight");
  const std::vector<float> ssm_conv = values_of(*gguf, "blk.0.ssm_conv1d.weight");
  const size_t grouped_of_tiled[] = {0, 3, 1, 4, 2, 5};
  constexpr size_t kKeys = 2 * 2 * 16, kWidth = 6 * 16;
  for (size_t p = 0; p < 6; ++p) {
    const size_t j = grouped_of_tiled[p];
    EXPECT_FLOAT_EQ(-std::exp(a_log[j]), ssm_a[p]);
    EXPECT_EQ(z[(j * 16 + 5) * 64 + 7], gate[(p * 16 + 5) * 64 + 7]);
    EXPECT_EQ(out[9 * kWidth + j * 16 + 5], ssm_out[9 * kWidth + p * 16 + 5]);
    EXPECT_EQ(conv[(kKeys + j * 16 + 5) * 4 + 3], ssm_conv[(kKeys + p * 16 + 5) * 4 + 3]);
  }
  for (size_t i = 0; i < kKeys * 4; ++i) EXPECT_EQ(conv[i], ssm_conv[i]);
  EXPECT_EQ(gguf->find("blk.0.ssm_conv1d.weight")->shape, (std::vector<int64_t>{160, 4}));
  EXPECT_EQ(gguf->find("blk.0.ffn_gate_inp_shexp.weight")->shape, (std::vector<int64_t>{64}));
}

TEST(TinyModel, SeedsMakeDifferentModelsAndTheSameSeedTheSame) {
  const TempDir a, b, c;
  TinyModelOptions options;
  write_tiny_model(a.path(), options);
  write_tiny_model(b.path(), options);
  options.seed = 2;
  write_tiny_model(c.path(), options);
  EXPECT_EQ(read_bytes(a / "model.gguf"), read_bytes(b / "model.gguf"));
  EXPECT_NE(read_bytes(a / "model.gguf"), read_bytes(c / "model.gguf"));
}

TEST(TinyModel, EveryFormatSpreadsAlike) {
  for (int i = 0; i < kFormatCount; ++i) {
    const auto format = static_cast<Format>(i);
    if (n_scale_matrices(format) > 0) continue;  // no GGUF is made of these
    constexpr int64_t kValues = 65536;
    const std::string blocks = random_blocks(format, kValues, 0.5f, 3);
    std::vector<float> values(kValues);
    format_info(format).decode({reinterpret_cast<const std::byte*>(blocks.data())}, 0, kValues, values.data());
    double sum = 0, squares = 0;
    for (const float value : values) {
      sum += value;
      squares += double{value} * value;
    }
    EXPECT_NEAR(sum / kValues, 0, 0.06) << format_info(format).name;
    EXPECT_NEAR(std::sqrt(squares / kValues), 0.5, 0.05) << format_info(format).name;
  }
}

TEST(TinyModel, QuantisedMatricesAndTheRest) {
  const TempDir folder;
  TinyModelOptions options;
  options.with_k_quant_dims();
  options.n_layers = 1;
  options.n_experts = 2;
  options.format = Format::q5_k;
  const auto model = write_and_open(folder, options);
  EXPECT_EQ(model->find("blk.0.ffn_down_exps.weight")->format, Format::q5_k);
  EXPECT_EQ(model->find("token_embd.weight")->format, Format::q5_k);
  EXPECT_EQ(model->find("blk.0.ffn_gate_inp.weight")->format, Format::f32);
  EXPECT_EQ(model->find("blk.0.attn_norm.weight")->format, Format::f32);
}

TEST(TinyModel, OptionsShow) {
  const TempDir a, b;
  TinyModelOptions options;
  options.layout = TinyLayout::hf_stacked;
  options.format = Format::bf16;
  options.with_vision = options.tie_embeddings = options.with_tokenizer = true;
  const auto hf = write_and_open(a, options);
  EXPECT_EQ(hf->config()["model_type"], "qwen3_5_moe");
  EXPECT_EQ(hf->config()["text_config"]["tie_word_embeddings"], true);
  EXPECT_EQ(hf->config()["architectures"][0], "Qwen3_5MoeForConditionalGeneration");
  EXPECT_EQ(hf->find("lm_head.weight"), nullptr);
  EXPECT_NE(hf->find("model.visual.merger.norm.weight"), nullptr);
  EXPECT_EQ(hf->find("model.language_model.norm.weight")->format, Format::bf16);
  EXPECT_TRUE(hf->side_file("chat_template.jinja"));
  const auto tokenizer = nlohmann::json::parse(hf->side_file("tokenizer.json").value());
  EXPECT_EQ(tokenizer["model"]["vocab"].size() + tokenizer["added_tokens"].size(), 320u);
  options.layout = TinyLayout::gguf;
  const auto gguf = write_and_open(b, options);
  EXPECT_EQ(gguf->find("output.weight"), nullptr);
  EXPECT_EQ(std::get<std::vector<std::string>>(gguf->metadata().at("tokenizer.ggml.tokens")).size(), 320u);
}

}  // namespace
}  // namespace flashmoe
