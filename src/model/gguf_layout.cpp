#include "model/gguf_layout.h"

#include <fmt/format.h>

#include "base/error.h"
#include "model/dimensions.h"

namespace flashmoe {
namespace gguf {

void refuse_variants(const Fields& f) { f.expect("rope.scaling.type", "none"); }

void read_model(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c) {
  c.n_draft_layers = static_cast<int>(f.optional_integer("nextn_predict_layers", 0, kMaxLayers).value_or(0));
  c.n_layers = static_cast<int>(f.integer("block_count", c.n_draft_layers + 1, kMaxLayers)) - c.n_draft_layers;
  c.name = Fields::of_gguf(checkpoint, "general.").optional_text("name").value_or("");
  c.d_model = f.integer("embedding_length", 1, kMaxDim);
  c.context_tokens = f.integer("context_length", 1, kMaxContext);
  c.norm_eps = static_cast<float>(f.real("attention.layer_norm_rms_epsilon", 0, 1));
  c.tied_embeddings =
      checkpoint.find("output.weight") == nullptr && checkpoint.find_unsupported("output.weight") == nullptr;
  const TensorInfo* embedding = checkpoint.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    // The binder reports the missing tensor with all others.
    c.vocab_size = f.optional_integer("vocab_size", 1, kMaxVocab).value_or(1);
  } else {
    c.vocab_size = embedding->shape[0];
  }
}

void read_attention(const Fields& f, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  a.n_heads = f.integer("attention.head_count", 1, kMaxDim);
  a.n_kv_heads = f.integer("attention.head_count_kv", 1, kMaxDim);
  a.d_head = f.optional_integer("attention.key_length", 1, kMaxDim).value_or(c.d_model / a.n_heads);
  a.rope_theta = f.real("rope.freq_base", 1, 1e12);
  a.rotary_dims = f.optional_integer("rope.dimension_count", 0, a.d_head).value_or(a.d_head);
}

void read_delta_net(const Fields& f, HeadOrder order, ModelConfig& c) {
  c.delta_net.n_key_heads = f.integer("ssm.group_count", 1, kMaxDim);
  c.delta_net.n_value_heads = f.integer("ssm.time_step_rank", 1, kMaxDim);
  c.delta_net.d_key = f.integer("ssm.state_size", 1, kMaxDim);
  c.delta_net.d_value = f.integer("ssm.inner_size", 1, kMaxDim) / c.delta_net.n_value_heads;
  c.delta_net.head_order = order;
  f.integer("ssm.conv_kernel", kConvWidth, kConvWidth);
}

void read_layer_kinds(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c) {
  const int64_t interval = f.optional_integer("full_attention_interval", 1, kMaxLayers).value_or(4);
  const auto recurrent = f.optional_integers("attention.recurrent_layers");  // draft layers come last
  if (recurrent && static_cast<int>(recurrent->size()) != c.n_layers + c.n_draft_layers) {
    fail(Fault::input, "{}: attention.recurrent_layers has {} entries for {} layers", checkpoint.path(),
         recurrent->size(), c.n_layers + c.n_draft_layers);
  }
  for (int i = 0; i < c.n_layers; ++i) {
    c.layer_is_attention.push_back(recurrent ? (*recurrent)[static_cast<size_t>(i)] == 0 : (i + 1) % interval == 0);
  }
}

void read_experts(const Fields& f, ModelConfig& c) {
  c.n_experts = static_cast<int>(f.integer("expert_count", 1, kMaxExperts));
  c.n_experts_used = static_cast<int>(f.integer("expert_used_count", 1, c.n_experts));
  c.d_ff_expert = f.integer("expert_feed_forward_length", 1, kMaxDim);
  c.picks_sum_to_one = f.optional_flag("expert_weights_norm").value_or(true);
}

}  // namespace gguf

void GgufLayout::ends(DecoderEnds& w) {
  b_.matrix(w.embedding, "token_embd.weight", c_.vocab_size, c_.d_model,
            c_.tied_embeddings ? MatrixUse::as_stored : MatrixUse::rows);
  b_.vector(w.final_norm, "output_norm.weight", {c_.d_model});
  if (!c_.tied_embeddings) b_.matrix(w.lm_head, "output.weight", c_.vocab_size, c_.d_model);
  for (int i = 0; i < c_.n_draft_layers; ++i) {
    b_.ignore(fmt::format("blk.{}.", c_.n_layers + i), "draft head");
  }
}

void GgufLayout::layer_norms(const std::string& p, const char* experts_norm, DecoderLayer& w) {
  b_.vector(w.mixer_norm, p + "attn_norm.weight", {c_.d_model});
  b_.vector(w.experts_norm, p + experts_norm, {c_.d_model});
}

void GgufLayout::attention(const std::string& p, AttentionWeights& w) {
  const AttentionConfig& a = c_.attention;
  b_.matrix(w.q, p + "attn_q.weight", a.n_heads * a.q_stride(), c_.d_model);
  b_.matrix(w.k, p + "attn_k.weight", a.n_kv_heads * a.d_head, c_.d_model);
  b_.matrix(w.v, p + "attn_v.weight", a.n_kv_heads * a.d_head, c_.d_model);
  b_.matrix(w.out, p + "attn_output.weight", c_.d_model, a.q_width());
  b_.vector(w.q_norm, p + "attn_q_norm.weight", {a.d_head});
  b_.vector(w.k_norm, p + "attn_k_norm.weight", {a.d_head});
}

void GgufLayout::delta_net(const std::string& p, DeltaNetWeights& w) {
  const DeltaNetConfig& d = c_.delta_net;
  b_.matrix(w.out, p + "ssm_out.weight", c_.d_model, d.value_width());
  b_.vector(w.conv, p + "ssm_conv1d.weight", {d.conv_channels(), kConvWidth});
  b_.vector(w.dt_bias, p + "ssm_dt.bias", {d.n_value_heads});
  b_.vector(w.neg_a, p + "ssm_a", {d.n_value_heads});
  b_.vector(w.norm, p + "ssm_norm.weight", {d.d_value});
}

void GgufLayout::experts(const std::string& p, DecoderLayer& w, ExpertTable& table) {
  b_.matrix(w.router, p + "ffn_gate_inp.weight", c_.n_experts, c_.d_model, MatrixUse::picks);
  if (c_.d_ff_shared > 0) {
    b_.matrix(w.shared.gate, p + "ffn_gate_shexp.weight", c_.d_ff_shared, c_.d_model);
    b_.matrix(w.shared.up, p + "ffn_up_shexp.weight", c_.d_ff_shared, c_.d_model);
    b_.matrix(w.shared.down, p + "ffn_down_shexp.weight", c_.d_model, c_.d_ff_shared);
    b_.matrix(w.shared.mix, p + "ffn_gate_inp_shexp.weight", 1, c_.d_model);
  }
  b_.stacked_experts(table, {p + "ffn_gate_exps.weight", p + "ffn_up_exps.weight", p + "ffn_down_exps.weight"},
                     c_.d_ff_expert, c_.d_model);
}

}  // namespace flashmoe
