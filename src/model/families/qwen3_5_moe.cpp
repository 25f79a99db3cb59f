// Qwen3.5-MoE (text part): hybrid of Gated DeltaNet and full attention, routed experts plus a shared one.
// Checkpoints: Hugging Face (model_type qwen3_5_moe, qwen3_5_moe_text) and GGUF (architecture qwen35moe).
#include <fmt/format.h>

#include "base/error.h"
#include "model/families/registry.h"
#include "model/fields.h"
#include "model/stages/attention.h"
#include "model/stages/combine.h"
#include "model/stages/delta_net.h"
#include "model/stages/norm.h"
#include "model/stages/routed_experts.h"
#include "model/stages/router.h"

namespace flashmoe {
namespace {

constexpr int64_t kMaxDim = 1 << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxExperts = 65536;

struct LayerWeights {
  std::span<const float> mixer_norm;  // [d_model]
  bool is_attention = false;
  AttentionWeights attention;
  DeltaNetWeights delta_net;
  std::span<const float> experts_norm;  // [d_model]
  MatrixView router;                    // [n_experts, d_model]
  SharedExpertWeights shared;
};

// Settings that change what a layer computes and that no released model of this family uses.
void refuse_variants(const Checkpoint& checkpoint, const Fields& f) {
  const auto refuse = [&](const char* field, const std::string& value) {
    fail(Fault::unsupported, "{}: {} is {}, which this version does not compute", checkpoint.path(), field, value);
  };
  const auto text = [&](const char* field, const std::string& usual) {
    const std::string value = f.optional_text(field).value_or(usual);
    if (value != usual) refuse(field, value);
  };
  const auto flag = [&](const char* field, bool usual) {
    const bool value = f.optional_flag(field).value_or(usual);
    if (value != usual) refuse(field, value ? "true" : "false");
  };
  text("hidden_act", "silu");
  text("rope_parameters.rope_type", "default");
  text("rope_scaling.rope_type", "default");
  text("rope_scaling.type", "default");
  flag("attention_bias", false);
  flag("norm_topk_prob", true);
  flag("attn_output_gate", true);
  if (f.optional_integer("decoder_sparse_step", 1, kMaxLayers).value_or(1) != 1) refuse("decoder_sparse_step", "not 1");
  for (const char* part : {"quantization_config", "quantization"}) {
    if (!f.has(std::string(part) + ".quant_method") && !f.has(std::string(part) + ".bits")) continue;
    fail(Fault::unsupported,
         "{}: config.json has a {}, so its weights are quantised in a way that this version does not read; take a GGUF "
         "or the unquantised folder",
         checkpoint.path(), part);
  }
}

void read_hugging_face(const Checkpoint& checkpoint, ModelConfig& c) {
  const Fields f = Fields::of_config(checkpoint, "text_config");
  refuse_variants(checkpoint, f);
  c.n_layers = static_cast<int>(f.integer("num_hidden_layers", 1, kMaxLayers));
  c.d_model = f.integer("hidden_size", 1, kMaxDim);
  c.vocab_size = f.integer("vocab_size", 1, 1 << 24);
  c.context_tokens = f.integer("max_position_embeddings", 1, 1 << 30);
  c.norm_eps = static_cast<float>(f.optional_real("rms_norm_eps", 0, 1).value_or(1e-6));
  c.attention.n_heads = f.integer("num_attention_heads", 1, kMaxDim);
  c.attention.n_kv_heads = f.integer("num_key_value_heads", 1, kMaxDim);
  c.attention.d_head = f.optional_integer("head_dim", 1, kMaxDim).value_or(c.d_model / c.attention.n_heads);
  const auto in_rope = [&](const char* name, double low, double high) {
    const auto nested = f.optional_real(std::string("rope_parameters.") + name, low, high);
    return nested ? nested : f.optional_real(name, low, high);
  };
  c.attention.rope_theta = in_rope("rope_theta", 1, 1e12).value_or(1e7);
  const double rotary = in_rope("partial_rotary_factor", 0, 1).value_or(0.25);
  c.attention.rotary_dims = static_cast<int64_t>(rotary * static_cast<double>(c.attention.d_head));
  c.delta_net.n_key_heads = f.integer("linear_num_key_heads", 1, kMaxDim);
  c.delta_net.n_value_heads = f.integer("linear_num_value_heads", 1, kMaxDim);
  c.delta_net.d_key = f.integer("linear_key_head_dim", 1, kMaxDim);
  c.delta_net.d_value = f.integer("linear_value_head_dim", 1, kMaxDim);
  c.delta_net.head_order = HeadOrder::grouped;
  f.integer("linear_conv_kernel_dim", kConvWidth, kConvWidth);
  c.n_experts = static_cast<int>(f.integer("num_experts", 1, kMaxExperts));
  c.n_experts_used = static_cast<int>(f.integer("num_experts_per_tok", 1, c.n_experts));
  c.d_ff_expert = f.integer("moe_intermediate_size", 1, kMaxDim);
  c.d_ff_shared = f.integer("shared_expert_intermediate_size", 1, kMaxDim);
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

void read_gguf(const Checkpoint& checkpoint, ModelConfig& c) {
  const Fields f = Fields::of_gguf(checkpoint, "qwen35moe.");
  const std::string scaling = f.optional_text("rope.scaling.type").value_or("none");
  if (scaling != "none") {
    fail(Fault::unsupported, "{}: qwen35moe.rope.scaling.type is {}, which this version does not compute",
         checkpoint.path(), scaling);
  }
  const auto n_draft_layers = f.optional_integer("nextn_predict_layers", 0, kMaxLayers).value_or(0);
  c.n_layers = static_cast<int>(f.integer("block_count", n_draft_layers + 1, kMaxLayers) - n_draft_layers);
  c.name = Fields::of_gguf(checkpoint, "general.").optional_text("name").value_or("");
  c.d_model = f.integer("embedding_length", 1, kMaxDim);
  c.context_tokens = f.integer("context_length", 1, 1 << 30);
  c.norm_eps = static_cast<float>(f.real("attention.layer_norm_rms_epsilon", 0, 1));
  c.attention.n_heads = f.integer("attention.head_count", 1, kMaxDim);
  c.attention.n_kv_heads = f.integer("attention.head_count_kv", 1, kMaxDim);
  c.attention.d_head = f.optional_integer("attention.key_length", 1, kMaxDim).value_or(c.d_model / c.attention.n_heads);
  c.attention.rope_theta = f.real("rope.freq_base", 1, 1e12);
  c.attention.rotary_dims = f.integer("rope.dimension_count", 0, c.attention.d_head);
  c.delta_net.n_key_heads = f.integer("ssm.group_count", 1, kMaxDim);
  c.delta_net.n_value_heads = f.integer("ssm.time_step_rank", 1, kMaxDim);
  c.delta_net.d_key = f.integer("ssm.state_size", 1, kMaxDim);
  c.delta_net.d_value = f.integer("ssm.inner_size", 1, kMaxDim) / c.delta_net.n_value_heads;
  c.delta_net.head_order = HeadOrder::tiled;
  f.integer("ssm.conv_kernel", kConvWidth, kConvWidth);
  c.n_experts = static_cast<int>(f.integer("expert_count", 1, kMaxExperts));
  c.n_experts_used = static_cast<int>(f.integer("expert_used_count", 1, c.n_experts));
  c.d_ff_expert = f.integer("expert_feed_forward_length", 1, kMaxDim);
  c.d_ff_shared = f.integer("expert_shared_feed_forward_length", 1, kMaxDim);
  const int64_t interval = f.optional_integer("full_attention_interval", 1, kMaxLayers).value_or(4);
  for (int i = 0; i < c.n_layers; ++i) c.layer_is_attention.push_back((i + 1) % interval == 0);
  const TensorInfo* embedding = checkpoint.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    const auto size = f.optional_integer("vocab_size", 1, 1 << 24);
    c.vocab_size = size.value_or(1);  // the binder reports the missing tensor with all others
  } else {
    c.vocab_size = embedding->shape[0];
  }
}

void check(const Checkpoint& checkpoint, const ModelConfig& c) {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) fail(Fault::input, "{}: the model's dimensions do not fit together: {}", checkpoint.path(), what);
  };
  require(c.attention.n_heads % c.attention.n_kv_heads == 0, "query heads are not a multiple of key/value heads");
  require(c.attention.rotary_dims % 2 == 0 && c.attention.rotary_dims <= c.attention.d_head, "rotary dimensions");
  require(c.delta_net.n_value_heads % c.delta_net.n_key_heads == 0, "value heads are not a multiple of key heads");
  require(c.delta_net.d_value >= 1, "the width of a value head");
  // A token's activations are of the order of these; beyond this the file is damaged, not large.
  require(c.attention.n_heads * c.attention.d_head <= kMaxDim && c.delta_net.value_width() <= kMaxDim &&
              c.delta_net.key_width() <= kMaxDim,
          "heads times head width");
}

class Qwen35Moe final : public Family {
 public:
  explicit Qwen35Moe(const Checkpoint& checkpoint) : gguf_(checkpoint.dialect() == Dialect::gguf) {
    gguf_ ? read_gguf(checkpoint, config_) : read_hugging_face(checkpoint, config_);
    config_.attention.output_gate = true;
    check(checkpoint, config_);
    if (gguf_) {
      tied_ = checkpoint.find("output.weight") == nullptr;
      n_draft_layers_ =
          Fields::of_gguf(checkpoint, "qwen35moe.").optional_integer("nextn_predict_layers", 0, kMaxLayers).value_or(0);
    } else {
      tied_ = Fields::of_config(checkpoint, "text_config").optional_flag("tie_word_embeddings").value_or(false);
    }
    layers_.resize(static_cast<size_t>(config_.n_layers));
    int n_attention = 0, n_delta = 0;
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].is_attention = config_.layer_is_attention[i];
      layers_[i].attention.slot = n_attention;
      layers_[i].delta_net.slot = n_delta;
      ++(layers_[i].is_attention ? n_attention : n_delta);
    }
  }

  const char* name() const override { return "qwen3_5_moe"; }
  const ModelConfig& config() const override { return config_; }
  const MatrixView& embedding() const override { return embedding_; }
  std::span<const float> final_norm() const override { return final_norm_; }
  const MatrixView& lm_head() const override { return tied_ ? embedding_ : lm_head_; }

  void bind(Binder& b, ExpertTable& experts) override {
    experts.n_layers = config_.n_layers;
    experts.n_experts = config_.n_experts;
    experts.n_used = config_.n_experts_used;
    gguf_ ? bind_gguf(b, experts) : bind_hugging_face(b, experts);
  }

  void forward_layer(int layer, Step& step) const override {
    const LayerWeights& w = layers_[static_cast<size_t>(layer)];
    step.profile.kind = w.is_attention ? LayerKind::attention : LayerKind::delta_net;
    norm(step, Stage::norm_mix, w.mixer_norm);
    if (w.is_attention) {
      attention(step, w.attention);
    } else {
      delta_net(step, w.delta_net);
    }
    norm(step, Stage::norm_route, w.experts_norm);
    const int n_distinct = route(step, layer, w.router);
    experts(step, layer, n_distinct, fetch(step, layer, n_distinct), &w.shared);
    combine(step);
  }

 private:
  void bind_hugging_face(Binder& b, ExpertTable& experts);
  void bind_hugging_face_layer(Binder& b, const std::string& p, LayerWeights& w);
  void bind_gguf(Binder& b, ExpertTable& experts);
  void bind_gguf_layer(Binder& b, const std::string& p, LayerWeights& w);

  bool gguf_;
  bool tied_ = false;
  int64_t n_draft_layers_ = 0;
  ModelConfig config_;
  MatrixView embedding_, lm_head_;  // [vocab_size, d_model]
  std::span<const float> final_norm_;
  std::vector<LayerWeights> layers_;
};

void Qwen35Moe::bind_hugging_face(Binder& b, ExpertTable& experts) {
  const ModelConfig& c = config_;
  const std::string model = b.has("model.language_model.embed_tokens.weight") ? "model.language_model." : "model.";
  b.matrix(embedding_, model + "embed_tokens.weight", c.vocab_size, c.d_model);
  b.vector(final_norm_, model + "norm.weight", {c.d_model}, Transform::one_plus);
  if (!tied_) b.matrix(lm_head_, "lm_head.weight", c.vocab_size, c.d_model);
  for (int i = 0; i < c.n_layers; ++i) {
    const std::string p = fmt::format("{}layers.{}.", model, i);
    bind_hugging_face_layer(b, p, layers_[static_cast<size_t>(i)]);
    if (b.has(p + "mlp.experts.0.gate_proj.weight")) {
      b.single_experts(experts, p + "mlp.experts.", c.d_ff_expert, c.d_model);
    } else {
      b.fused_experts(experts, p + "mlp.experts.gate_up_proj", p + "mlp.experts.down_proj", c.d_ff_expert, c.d_model);
    }
  }
  b.ignore("model.visual.");  // vision tower
  b.ignore("visual.");
  b.ignore("mtp.");  // draft head
  if (tied_) b.ignore("lm_head.weight");
}

void Qwen35Moe::bind_hugging_face_layer(Binder& b, const std::string& p, LayerWeights& w) {
  const ModelConfig& c = config_;
  const int64_t d = c.d_model, heads = c.attention.n_heads, d_head = c.attention.d_head;
  b.vector(w.mixer_norm, p + "input_layernorm.weight", {d}, Transform::one_plus);
  if (w.is_attention) {
    AttentionWeights& a = w.attention;
    b.matrix(a.q, p + "self_attn.q_proj.weight", heads * d_head * 2, d);
    b.matrix(a.k, p + "self_attn.k_proj.weight", c.attention.n_kv_heads * d_head, d);
    b.matrix(a.v, p + "self_attn.v_proj.weight", c.attention.n_kv_heads * d_head, d);
    b.matrix(a.out, p + "self_attn.o_proj.weight", d, heads * d_head);
    b.vector(a.q_norm, p + "self_attn.q_norm.weight", {d_head}, Transform::one_plus);
    b.vector(a.k_norm, p + "self_attn.k_norm.weight", {d_head}, Transform::one_plus);
  } else {
    DeltaNetWeights& n = w.delta_net;
    const DeltaNetConfig& e = c.delta_net;
    b.matrix(n.qkv, p + "linear_attn.in_proj_qkv.weight", e.conv_channels(), d);
    b.matrix(n.z, p + "linear_attn.in_proj_z.weight", e.value_width(), d);
    b.matrix(n.beta, p + "linear_attn.in_proj_b.weight", e.n_value_heads, d);
    b.matrix(n.alpha, p + "linear_attn.in_proj_a.weight", e.n_value_heads, d);
    b.matrix(n.out, p + "linear_attn.out_proj.weight", d, e.value_width());
    b.vector(n.conv, p + "linear_attn.conv1d.weight", {e.conv_channels(), kConvWidth});
    b.vector(n.dt_bias, p + "linear_attn.dt_bias", {e.n_value_heads});
    b.vector(n.neg_a, p + "linear_attn.A_log", {e.n_value_heads}, Transform::negative_exp);
    b.vector(n.norm, p + "linear_attn.norm.weight", {e.d_value});
  }
  b.vector(w.experts_norm, p + "post_attention_layernorm.weight", {d}, Transform::one_plus);
  b.matrix(w.router, p + "mlp.gate.weight", c.n_experts, d);
  b.matrix(w.shared.gate, p + "mlp.shared_expert.gate_proj.weight", c.d_ff_shared, d);
  b.matrix(w.shared.up, p + "mlp.shared_expert.up_proj.weight", c.d_ff_shared, d);
  b.matrix(w.shared.down, p + "mlp.shared_expert.down_proj.weight", d, c.d_ff_shared);
  b.matrix(w.shared.mix, p + "mlp.shared_expert_gate.weight", 1, d);
}

void Qwen35Moe::bind_gguf(Binder& b, ExpertTable& experts) {
  const ModelConfig& c = config_;
  b.matrix(embedding_, "token_embd.weight", c.vocab_size, c.d_model);
  b.vector(final_norm_, "output_norm.weight", {c.d_model});
  if (!tied_) b.matrix(lm_head_, "output.weight", c.vocab_size, c.d_model);
  for (int i = 0; i < c.n_layers; ++i) {
    const std::string p = fmt::format("blk.{}.", i);
    bind_gguf_layer(b, p, layers_[static_cast<size_t>(i)]);
    b.stacked_experts(experts, {p + "ffn_gate_exps.weight", p + "ffn_up_exps.weight", p + "ffn_down_exps.weight"},
                      c.d_ff_expert, c.d_model);
  }
  for (int64_t i = 0; i < n_draft_layers_; ++i) b.ignore(fmt::format("blk.{}.", c.n_layers + i));
}

void Qwen35Moe::bind_gguf_layer(Binder& b, const std::string& p, LayerWeights& w) {
  const ModelConfig& c = config_;
  const int64_t d = c.d_model, heads = c.attention.n_heads, d_head = c.attention.d_head;
  b.vector(w.mixer_norm, p + "attn_norm.weight", {d});
  if (w.is_attention) {
    AttentionWeights& a = w.attention;
    b.matrix(a.q, p + "attn_q.weight", heads * d_head * 2, d);
    b.matrix(a.k, p + "attn_k.weight", c.attention.n_kv_heads * d_head, d);
    b.matrix(a.v, p + "attn_v.weight", c.attention.n_kv_heads * d_head, d);
    b.matrix(a.out, p + "attn_output.weight", d, heads * d_head);
    b.vector(a.q_norm, p + "attn_q_norm.weight", {d_head});
    b.vector(a.k_norm, p + "attn_k_norm.weight", {d_head});
  } else {
    DeltaNetWeights& n = w.delta_net;
    const DeltaNetConfig& e = c.delta_net;
    b.matrix(n.qkv, p + "attn_qkv.weight", e.conv_channels(), d);
    b.matrix(n.z, p + "attn_gate.weight", e.value_width(), d);
    b.matrix(n.beta, p + "ssm_beta.weight", e.n_value_heads, d);
    b.matrix(n.alpha, p + "ssm_alpha.weight", e.n_value_heads, d);
    b.matrix(n.out, p + "ssm_out.weight", d, e.value_width());
    b.vector(n.conv, p + "ssm_conv1d.weight", {e.conv_channels(), kConvWidth});
    b.vector(n.dt_bias, p + "ssm_dt.bias", {e.n_value_heads});
    b.vector(n.neg_a, p + "ssm_a", {e.n_value_heads});
    b.vector(n.norm, p + "ssm_norm.weight", {e.d_value});
  }
  b.vector(w.experts_norm, p + "post_attention_norm.weight", {d});
  b.matrix(w.router, p + "ffn_gate_inp.weight", c.n_experts, d);
  b.matrix(w.shared.gate, p + "ffn_gate_shexp.weight", c.d_ff_shared, d);
  b.matrix(w.shared.up, p + "ffn_up_shexp.weight", c.d_ff_shared, d);
  b.matrix(w.shared.down, p + "ffn_down_shexp.weight", d, c.d_ff_shared);
  b.matrix(w.shared.mix, p + "ffn_gate_inp_shexp.weight", 1, d);
}

}  // namespace

std::unique_ptr<Family> make_qwen3_5_moe(const Checkpoint& checkpoint) {
  return std::make_unique<Qwen35Moe>(checkpoint);
}

}  // namespace flashmoe
