// Qwen3-Next: the arithmetic of Qwen3.5-MoE, with the delta-net's projections stored key head by key head.
// Checkpoints: Hugging Face and MLX (model_type qwen3_next), GGUF (architecture qwen3next).
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
  f.expect("attn_output_gate", true);
  ModelConfig c;
  hugging_face::read_model(f, c);
  hugging_face::read_attention(f, 0.25, c);
  c.attention.output_gate = true;
  hugging_face::read_delta_net(f, c);
  hugging_face::read_layer_kinds(checkpoint, f, c);
  hugging_face::read_experts(f, c);
  c.picks_sum_to_one = f.optional_flag("norm_topk_prob").value_or(true);
  c.d_ff_shared = f.integer("shared_expert_intermediate_size", 1, kMaxDim);
  return c;
}

ModelConfig read_gguf(const Checkpoint& checkpoint) {
  const Fields f = Fields::of_gguf(checkpoint, "qwen3next.");
  gguf::refuse_variants(f);
  ModelConfig c;
  gguf::read_model(checkpoint, f, c);
  gguf::read_attention(f, c);
  c.attention.output_gate = true;
  gguf::read_delta_net(f, HeadOrder::grouped, c);  // unlike qwen35moe
  gguf::read_layer_kinds(checkpoint, f, c);
  gguf::read_experts(f, c);
  c.d_ff_shared = f.integer("expert_shared_feed_forward_length", 1, kMaxDim);
  return c;
}

class Qwen3Next final : public Decoder {
 public:
  Qwen3Next(const Checkpoint& checkpoint, bool gguf)
      : Decoder(checkpoint, gguf ? read_gguf(checkpoint) : read_hugging_face(checkpoint)), gguf_(gguf) {}
  const char* name() const override { return "qwen3_next"; }

 private:
  void bind_ends(Binder& b, DecoderEnds& w) override {
    if (gguf_) return GgufLayout(b, config()).ends(w);
    HuggingFaceLayout(b, config(), Transform::one_plus).ends("model.", w);
    b.ignore("mtp.", "draft head");
  }

  void bind_layer(Binder& b, int layer, DecoderLayer& w, ExpertTable& experts) override {
    if (gguf_) {
      bind_gguf(b, fmt::format("blk.{}.", layer), w, experts);
    } else {
      bind_hugging_face(b, fmt::format("model.layers.{}.", layer), w, experts);
    }
  }

  void bind_hugging_face(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts);
  void bind_gguf(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts);
  void bind_qkvz(Binder& b, const std::string& name, DeltaNetWeights& w) const;
  void bind_ba(Binder& b, const std::string& name, DeltaNetWeights& w) const;

  bool gguf_;
};

// Rows per key head: [q dk | k dk | v r dv | z r dv], r value heads to a key head.
void Qwen3Next::bind_qkvz(Binder& b, const std::string& name, DeltaNetWeights& w) const {
  const DeltaNetConfig& d = config().delta_net;
  const int64_t heads = d.n_key_heads, dk = d.d_key, dv = d.value_width() / heads;
  const int64_t stride = 2 * dk + 2 * dv, rows = heads * stride;
  b.matrix_of_rows(w.qkv, name, rows, config().d_model,
                   {{0, dk, stride, heads}, {dk, dk, stride, heads}, {2 * dk, dv, stride, heads}});
  b.matrix_of_rows(w.z, name, rows, config().d_model, {{2 * dk + dv, dv, stride, heads}});
}

// Rows per key head: [beta r | alpha r].
void Qwen3Next::bind_ba(Binder& b, const std::string& name, DeltaNetWeights& w) const {
  const DeltaNetConfig& d = config().delta_net;
  const int64_t heads = d.n_key_heads, r = d.n_value_heads / heads;
  b.matrix_of_rows(w.beta, name, 2 * d.n_value_heads, config().d_model, {{0, r, 2 * r, heads}});
  b.matrix_of_rows(w.alpha, name, 2 * d.n_value_heads, config().d_model, {{r, r, 2 * r, heads}});
}

void Qwen3Next::bind_hugging_face(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts) {
  HuggingFaceLayout layout(b, config(), Transform::one_plus);
  layout.layer_norms(p, w);
  if (w.is_attention) {
    layout.attention(p, w.attention);
  } else {
    bind_qkvz(b, p + "linear_attn.in_proj_qkvz.weight", w.delta_net);
    bind_ba(b, p + "linear_attn.in_proj_ba.weight", w.delta_net);
    layout.delta_net(p, w.delta_net);
  }
  layout.experts(p, w, experts);
}

void Qwen3Next::bind_gguf(Binder& b, const std::string& p, DecoderLayer& w, ExpertTable& experts) {
  GgufLayout layout(b, config());
  layout.layer_norms(p, "post_attention_norm.weight", w);
  if (w.is_attention) {
    layout.attention(p, w.attention);
  } else {
    if (b.has(p + "ssm_in.weight")) {  // files made before the converter sorted these rows
      bind_qkvz(b, p + "ssm_in.weight", w.delta_net);
    } else {
      b.matrix(w.delta_net.qkv, p + "attn_qkv.weight", config().delta_net.conv_channels(), config().d_model);
      b.matrix(w.delta_net.z, p + "attn_gate.weight", config().delta_net.value_width(), config().d_model);
    }
    bind_ba(b, p + "ssm_ba.weight", w.delta_net);
    layout.delta_net(p, w.delta_net);
  }
  layout.experts(p, w, experts);
}

}  // namespace

std::unique_ptr<Family> make_qwen3_next(const Checkpoint& checkpoint) {
  return std::make_unique<Qwen3Next>(checkpoint, checkpoint.dialect() == Dialect::gguf);
}

}  // namespace flashmoe
