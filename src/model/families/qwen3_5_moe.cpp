// Qwen3.5-MoE (text part): hybrid of Gated DeltaNet and full attention, routed experts plus a shared one.
// Checkpoints: Hugging Face and MLX (model_type qwen3_5_moe, qwen3_5_moe_text), GGUF (architecture qwen35moe).
#include <fmt/format.h>

#include "model/decoder.h"
#include "model/dimensions.h"
#include "model/families/registry.h"
#include "model/gguf_layout.h"
#include "model/hugging_face_layout.h"

namespace flashmoe {
namespace {

ModelConfig read_hugging_face(const Checkpoint& checkpoint) {
  const Fields f = Fields::of_config(checkpoint, "text_config");
  hugging_face::refuse_variants(checkpoint, f);
  f.expect("norm_topk_prob", true);
  f.expect("attn_output_gate", true);
  ModelConfig c;
  hugging_face::read_model(f, c);
  hugging_face::read_attention(f, 0.25, c);
  c.attention.output_gate = true;
  hugging_face::read_delta_net(f, c);
  hugging_face::read_layer_kinds(checkpoint, f, c);
  hugging_face::read_experts(f, c);
  c.d_ff_shared = f.integer("shared_expert_intermediate_size", 1, kMaxDim);
  return c;
}

ModelConfig read_gguf(const Checkpoint& checkpoint) {
  const Fields f = Fields::of_gguf(checkpoint, "qwen35moe.");
  gguf::refuse_variants(f);
  ModelConfig c;
  gguf::read_model(checkpoint, f, c);
  gguf::read_attention(f, c);
  c.attention.output_gate = true;
  // Packed folders of models that are not GGUF keep the heads' order, so that sums have the same bits.
  const bool grouped = f.optional_text("ssm.value_head_order").value_or("tiled") == "grouped";
  gguf::read_delta_net(f, grouped ? HeadOrder::grouped : HeadOrder::tiled, c);
  gguf::read_layer_kinds(checkpoint, f, c);
  gguf::read_experts(f, c);
  c.d_ff_shared = f.integer("expert_shared_feed_forward_length", 1, kMaxDim);
  return c;
}

class Qwen35Moe final : public Decoder {
 public:
  Qwen35Moe(const Checkpoint& checkpoint, bool gguf)
      : Decoder(checkpoint, gguf ? read_gguf(checkpoint) : read_hugging_face(checkpoint)), gguf_(gguf) {}
  const char* name() const override { return "qwen3_5_moe"; }

 private:
  void bind_ends(Binder& b, DecoderEnds& w) override {
    if (gguf_) return GgufLayout(b, config()).ends(w);
    HuggingFaceLayout(b, config(), Transform::one_plus).ends(prefix(b), w);
    for (const char* prefix : {"model.visual.", "visual.", "vision_tower."}) b.ignore(prefix, "vision tower");
    b.ignore("mtp.", "draft head");
  }

  void bind_layer(Binder& b, int layer, DecoderLayer& w, ExpertTable& experts) override {
    if (gguf_) {
      bind_gguf(b, fmt::format("blk.{}.", layer), w, experts);
    } else {
      bind_hugging_face(b, fmt::format("{}layers.{}.", prefix(b), layer), w, experts);
    }
  }

  // Beside a vision tower the text part has a place of its own.
  static std::string prefix(const Binder& b) {
    for (const char* p : {"model.language_model.", "language_model.model."}) {  // Hugging Face, MLX
      if (b.has(p + std::string("embed_tokens.weight"))) return p;
    }
    return "model.";
  }
  void bind_hugging_face(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts);
  void bind_gguf(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts);

  bool gguf_;
};

void Qwen35Moe::bind_hugging_face(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts) {
  HuggingFaceLayout layout(b, config(), Transform::one_plus);
  layout.layer_norms(p, w);
  if (w.is_attention) {
    layout.attention(p, w.attention);
  } else {
    const DeltaNetConfig& d = config().delta_net;
    b.matrix(w.delta_net.qkv, p + "linear_attn.in_proj_qkv.weight", d.conv_channels(), config().d_model);
    b.matrix(w.delta_net.z, p + "linear_attn.in_proj_z.weight", d.value_width(), config().d_model);
    b.matrix(w.delta_net.beta, p + "linear_attn.in_proj_b.weight", d.n_value_heads, config().d_model);
    b.matrix(w.delta_net.alpha, p + "linear_attn.in_proj_a.weight", d.n_value_heads, config().d_model);
    layout.delta_net(p, w.delta_net);
  }
  layout.experts(p, w, experts);
}

void Qwen35Moe::bind_gguf(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts) {
  GgufLayout layout(b, config());
  layout.layer_norms(p, "post_attention_norm.weight", w);
  if (w.is_attention) {
    layout.attention(p, w.attention);
  } else {
    const DeltaNetConfig& d = config().delta_net;
    b.matrix(w.delta_net.qkv, p + "attn_qkv.weight", d.conv_channels(), config().d_model);
    b.matrix(w.delta_net.z, p + "attn_gate.weight", d.value_width(), config().d_model);
    b.matrix(w.delta_net.beta, p + "ssm_beta.weight", d.n_value_heads, config().d_model);
    b.matrix(w.delta_net.alpha, p + "ssm_alpha.weight", d.n_value_heads, config().d_model);
    layout.delta_net(p, w.delta_net);
  }
  layout.experts(p, w, experts);
}

}  // namespace

std::unique_ptr<Family> make_qwen3_5_moe(const Checkpoint& checkpoint) {
  return std::make_unique<Qwen35Moe>(checkpoint, checkpoint.dialect() == Dialect::gguf);
}

}  // namespace flashmoe
