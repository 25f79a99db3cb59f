#include "pack/names.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

TEST(Names, OfFoldersInGguf) {
  const auto name = [](std::string_view folder) { return gguf_name_of(folder, "ffn_norm.weight").value_or("none"); };
  EXPECT_EQ(name("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(name("language_model.lm_head.weight"), "output.weight");
  EXPECT_EQ(name("model.language_model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(name("model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(name("model.layers.3.post_attention_layernorm.weight"), "blk.3.ffn_norm.weight");
  EXPECT_EQ(name("model.layers.0.linear_attn.A_log"), "blk.0.ssm_a");
  for (const char* odd : {"", "layers.", "layers.1", "model.layers.x.mlp.gate.weight", "model.layers.1.mlp.gate.bias",
                          "model.layers.99999999999.mlp.gate.weight"}) {
    EXPECT_EQ(name(odd), "none") << odd;
  }
}

TEST(Names, TellPartsOfATrunk) {
  const auto part = [](std::string_view name) {
    const TrunkPart found = trunk_part(name, 8);
    return std::pair(std::string(found.role), found.layer);
  };
  EXPECT_EQ(part("token_embd.weight"), std::pair(std::string("embedding"), -1));
  EXPECT_EQ(part("output_norm.weight"), std::pair(std::string("norm"), -1));
  EXPECT_EQ(part("blk.3.attn_q_norm.weight"), std::pair(std::string("norm"), 3));
  EXPECT_EQ(part("blk.3.attn_q.weight"), std::pair(std::string("attention"), 3));
  EXPECT_EQ(part("blk.3.attn_qkv.weight"), std::pair(std::string("delta_net"), 3));
  EXPECT_EQ(part("blk.7.ffn_gate_inp_shexp.weight"), std::pair(std::string("router"), 7));
  EXPECT_EQ(part("blk.7.ffn_gate_shexp.weight"), std::pair(std::string("shared_expert"), 7));
  EXPECT_EQ(part("blk.8.ffn_gate_exps.weight"), std::pair(std::string("mtp"), 8));
  EXPECT_EQ(part("blk.8.ffn_gate_inp.weight"), std::pair(std::string("router"), 8));
  EXPECT_TRUE(is_routed_experts("blk.7.ffn_up_exps.weight", 8));
  EXPECT_FALSE(is_routed_experts("blk.8.ffn_up_exps.weight", 8));
  EXPECT_FALSE(is_routed_experts("blk.7.ffn_up_shexp.weight", 8));
}

}  // namespace
}  // namespace flashmoe
