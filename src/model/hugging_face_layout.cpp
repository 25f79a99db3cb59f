#include "model/hugging_face_layout.h"

#include "base/error.h"
#include "model/dimensions.h"

namespace flashmoe {
namespace hugging_face {

void refuse_variants(const Checkpoint& checkpoint, const Fields& f) {
  f.expect("hidden_act", "silu");
  f.expect("rope_parameters.rope_type", "default");
  f.expect("rope_scaling.rope_type", "default");
  f.expect("rope_scaling.type", "default");
  f.expect("attention_bias", false);
  f.expect("use_sliding_window", false);
  // Layers with a dense network in place of experts.
  f.expect("decoder_sparse_step", int64_t{1});
  if (const auto dense = f.optional_integers("mlp_only_layers"); dense && !dense->empty()) {
    fail(Fault::unsupported, "{}: mlp_only_layers names layers without experts, which this version does not compute",
         checkpoint.path());
  }
}

void read_model(const Fields& f, ModelConfig& c) {
  c.n_layers = static_cast<int>(f.integer("num_hidden_layers", 1, kMaxLayers));
  c.d_model = f.integer("hidden_size", 1, kMaxDim);
  c.vocab_size = f.integer("vocab_size", 1, kMaxVocab);
  c.context_tokens = f.integer("max_position_embeddings", 1, kMaxContext);
  c.norm_eps = static_cast<float>(f.optional_real("rms_norm_eps", 0, 1).value_or(1e-6));
  c.tied_embeddings = f.optional_flag("tie_word_embeddings").value_or(false);
}

void read_attention(const Fields& f, double rotary_share, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  a.n_heads = f.integer("num_attention_heads", 1, kMaxDim);
  a.n_kv_heads = f.integer("num_key_value_heads", 1, kMaxDim);
  a.d_head = f.optional_integer("head_dim", 1, kMaxDim).value_or(c.d_model / a.n_heads);
  const auto theta = f.optional_real("rope_parameters.rope_theta", 1, 1e12);
  a.rope_theta = theta ? *theta : f.real("rope_theta", 1, 1e12);
  const auto nested = f.optional_real("rope_parameters.partial_rotary_factor", 0, 1);
  const auto share = nested ? nested : f.optional_real("partial_rotary_factor", 0, 1);
  a.rotary_dims = static_cast<int64_t>(share.value_or(rotary_share) * static_cast<double>(a.d_head));
}

void read_delta_net(const Fields& f, ModelConfig& c) {
  c.delta_net.n_key_heads = f.integer("linear_num_key_heads", 1, kMaxDim);
  c.delta_net.n_value_heads = f.integer("linear_num_value_heads", 1, kMaxDim);
  c.delta_net.d_key = f.integer("linear_key_head_dim", 1, kMaxDim);
  c.delta_net.d_value = f.integer("linear_value_head_dim", 1, kMaxDim);
  c.delta_net.head_order = HeadOrder::grouped;
  f.integer("linear_conv_kernel_dim", kConvWidth, kConvWidth);
}

void read_layer_kinds(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c) {
  const int64_t interval = f.optional_integer("full_attention_interval", 1, kMaxLayers).value_or(4);
  const auto types = f.optional_texts("layer_types");
  if (types && static_cast<int>(types->size()) != c.n_layers) {
    fail(Fault::input, "{}: layer_types has {} entries for {} layers", checkpoint.path(), types->size(), c.n_layers);
  }
  for (int i = 0; i < c.n_layers; ++i) {
    if (!types) {
      c.layer_is_attention.push_back((i + 1) % interval == 0);
      continue;
    }
    const std::string& type = (*types)[static_cast<size_t>(i)];
    if (type != "full_attention" && type != "linear_attention") {
      fail(Fault::unsupported, "{}: layer {} has the unknown type '{}'", checkpoint.path(), i, type);
    }
    c.layer_is_attention.push_back(type == "full_attention");
  }
}

void read_experts(const Fields& f, ModelConfig& c) {
  const auto local = f.optional_integer("num_local_experts", 1, kMaxExperts);
  c.n_experts = static_cast<int>(local ? *local : f.integer("num_experts", 1, kMaxExperts));
  c.n_experts_used = static_cast<int>(f.integer("num_experts_per_tok", 1, c.n_experts));
  c.d_ff_expert = f.integer("moe_intermediate_size", 1, kMaxDim);
}

}  // namespace hugging_face

void HuggingFaceLayout::ends(const std::string& p, DecoderEnds& w) {
  b_.matrix(w.embedding, p + "embed_tokens.weight", c_.vocab_size, c_.d_model,
            c_.tied_embeddings ? MatrixUse::as_stored : MatrixUse::rows);
  norm(w.final_norm, p + "norm.weight");
  const std::string head = p.starts_with("language_model.") ? "language_model.lm_head." : "lm_head.";
  if (c_.tied_embeddings) {
    b_.ignore(head, "head that is the embedding, too");
  } else {
    b_.matrix(w.lm_head, head + "weight", c_.vocab_size, c_.d_model);
  }
}

void HuggingFaceLayout::layer_norms(const std::string& p, DecoderLayer& w) {
  norm(w.mixer_norm, p + "input_layernorm.weight");
  norm(w.experts_norm, p + "post_attention_layernorm.weight");
}

void HuggingFaceLayout::attention(const std::string& p, AttentionWeights& w) {
  const AttentionConfig& a = c_.attention;
  b_.matrix(w.q, p + "self_attn.q_proj.weight", a.n_heads * a.q_stride(), c_.d_model);
  b_.matrix(w.k, p + "self_attn.k_proj.weight", a.n_kv_heads * a.d_head, c_.d_model);
  b_.matrix(w.v, p + "self_attn.v_proj.weight", a.n_kv_heads * a.d_head, c_.d_model);
  b_.matrix(w.out, p + "self_attn.o_proj.weight", c_.d_model, a.q_width());
  b_.vector(w.q_norm, p + "self_attn.q_norm.weight", {a.d_head}, norms_);
  b_.vector(w.k_norm, p + "self_attn.k_norm.weight", {a.d_head}, norms_);
}

void HuggingFaceLayout::delta_net(const std::string& p, DeltaNetWeights& w) {
  const DeltaNetConfig& d = c_.delta_net;
  b_.matrix(w.out, p + "linear_attn.out_proj.weight", c_.d_model, d.value_width());
  b_.vector(w.conv, p + "linear_attn.conv1d.weight", {d.conv_channels(), kConvWidth});
  b_.vector(w.dt_bias, p + "linear_attn.dt_bias", {d.n_value_heads});
  b_.vector(w.neg_a, p + "linear_attn.A_log", {d.n_value_heads}, Transform::negative_exp);
  b_.vector(w.norm, p + "linear_attn.norm.weight", {d.d_value});
}

void HuggingFaceLayout::experts(const std::string& p, DecoderLayer& w, ExpertTable& table) {
  b_.matrix(w.router, p + "mlp.gate.weight", c_.n_experts, c_.d_model, MatrixUse::picks);
  if (c_.d_ff_shared > 0) {
    b_.matrix(w.shared.gate, p + "mlp.shared_expert.gate_proj.weight", c_.d_ff_shared, c_.d_model);
    b_.matrix(w.shared.up, p + "mlp.shared_expert.up_proj.weight", c_.d_ff_shared, c_.d_model);
    b_.matrix(w.shared.down, p + "mlp.shared_expert.down_proj.weight", c_.d_model, c_.d_ff_shared);
    b_.matrix(w.shared.mix, p + "mlp.shared_expert_gate.weight", 1, c_.d_model);
  }
  if (b_.has(p + "mlp.experts.0.gate_proj.weight")) {
    b_.single_experts(table, p + "mlp.experts.", c_.d_ff_expert, c_.d_model);
  } else if (const std::string m = p + "mlp.switch_mlp."; b_.has(m + "gate_proj.weight")) {  // MLX
    b_.stacked_experts(table, {m + "gate_proj.weight", m + "up_proj.weight", m + "down_proj.weight"}, c_.d_ff_expert,
                       c_.d_model);
  } else {
    b_.fused_experts(table, p + "mlp.experts.gate_up_proj", p + "mlp.experts.down_proj", c_.d_ff_expert, c_.d_model);
  }
}

}  // namespace flashmoe
