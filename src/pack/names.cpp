#include "pack/names.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace flashmoe {
namespace {

struct Names {
  std::string_view folder, gguf;
};
constexpr std::array kLayerNames = {
    Names{"input_layernorm.weight", "attn_norm.weight"},
    Names{"self_attn.q_proj.weight", "attn_q.weight"},
    Names{"self_attn.k_proj.weight", "attn_k.weight"},
    Names{"self_attn.v_proj.weight", "attn_v.weight"},
    Names{"self_attn.o_proj.weight", "attn_output.weight"},
    Names{"self_attn.q_norm.weight", "attn_q_norm.weight"},
    Names{"self_attn.k_norm.weight", "attn_k_norm.weight"},
    Names{"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
    Names{"linear_attn.in_proj_z.weight", "attn_gate.weight"},
    Names{"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
    Names{"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
    Names{"linear_attn.in_proj_qkvz.weight", "ssm_in.weight"},
    Names{"linear_attn.in_proj_ba.weight", "ssm_ba.weight"},
    Names{"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
    Names{"linear_attn.dt_bias", "ssm_dt.bias"},
    Names{"linear_attn.A_log", "ssm_a"},
    Names{"linear_attn.norm.weight", "ssm_norm.weight"},
    Names{"linear_attn.out_proj.weight", "ssm_out.weight"},
    Names{"mlp.gate.weight", "ffn_gate_inp.weight"},
    Names{"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight"},
    Names{"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight"},
    Names{"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight"},
    Names{"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight"},
};

// "PREFIX12.rest" taken apart.
struct LayerName {
  int layer = 0;
  std::string_view rest;
};
std::optional<LayerName> layer_name(std::string_view name, std::string_view prefix) {
  const size_t at = name.find(prefix);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view tail = name.substr(at + prefix.size());
  LayerName result;
  const auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), result.layer);
  const auto n_digits = static_cast<size_t>(end - tail.data());
  if (error != std::errc() || n_digits >= tail.size() || tail[n_digits] != '.') return std::nullopt;
  result.rest = tail.substr(n_digits + 1);
  return result;
}

}  // namespace

std::optional<std::string> gguf_name_of(std::string_view name, std::string_view experts_norm) {
  if (const auto layer = layer_name(name, "layers.")) {
    if (layer->rest == "post_attention_layernorm.weight") return fmt::format("blk.{}.{}", layer->layer, experts_norm);
    for (const Names& names : kLayerNames) {
      if (layer->rest == names.folder) return fmt::format("blk.{}.{}", layer->layer, names.gguf);
    }
    return std::nullopt;
  }
  if (name.ends_with("embed_tokens.weight")) return "token_embd.weight";
  if (name.ends_with("lm_head.weight")) return "output.weight";
  if (name.ends_with("model.norm.weight") || name.ends_with("language_model.norm.weight")) return "output_norm.weight";
  return std::nullopt;
}

TrunkPart trunk_part(std::string_view name, int n_layers) {
  if (name == "token_embd.weight") return {"embedding"};
  if (name == "output.weight") return {"output"};
  const auto block = layer_name(name, "blk.");
  if (!block) return {"norm"};
  const std::string_view rest = block->rest;
  const bool vector = rest.find("norm") != std::string_view::npos || rest.find("conv1d") != std::string_view::npos ||
                      rest == "ssm_a" || rest == "ssm_dt.bias";
  if (vector) return {"norm", block->layer};
  if (rest.starts_with("ffn_gate_inp")) return {"router", block->layer};
  if (block->layer >= n_layers) return {"mtp", block->layer};
  if (rest.starts_with("ssm_") || rest.starts_with("attn_qkv") || rest.starts_with("attn_gate")) {
    return {"delta_net", block->layer};
  }
  if (rest.starts_with("attn_")) return {"attention", block->layer};
  return {"shared_expert", block->layer};
}

bool is_routed_experts(std::string_view name, int n_layers) {
  const auto block = layer_name(name, "blk.");
  return block && block->layer < n_layers &&
         (block->rest == "ffn_gate_exps.weight" || block->rest == "ffn_up_exps.weight" ||
          block->rest == "ffn_down_exps.weight");
}

}  // namespace flashmoe
