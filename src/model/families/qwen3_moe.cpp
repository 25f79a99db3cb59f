// Qwen3-MoE: full attention without an output gate in every layer, routed experts without a shared one.
// Checkpoints: Hugging Face and MLX (model_type qwen3_moe), GGUF (architecture qwen3moe).
#include <fmt/format.h>

#include "base/error.h"
#include "model/decoder.h"
#include "model/families/registry.h"
#include "model/gguf_layout.h"
#include "model/hugging_face_layout.h"

namespace flashmoe {
namespace {

ModelConfig read_hugging_face(const Checkpoint& checkpoint) {
  const Fields f = Fields::of_config(checkpoint, "text_config");
  hugging_face::refuse_variants(checkpoint, f);
  ModelConfig c;
  hugging_face::read_model(f, c);
  hugging_face::read_attention(f, 1, c);
  hugging_face::read_experts(f, c);
  c.picks_sum_to_one = f.optional_flag("norm_topk_prob").value_or(false);
  return c;
}

ModelConfig read_gguf(const Checkpoint& checkpoint) {
  const Fields f = Fields::of_gguf(checkpoint, "qwen3moe.");
  gguf::refuse_variants(f);
  ModelConfig c;
  gguf::read_model(checkpoint, f, c);
  gguf::read_attention(f, c);
  gguf::read_experts(f, c);
  return c;
}

// What both containers leave to the family.
ModelConfig complete(const Checkpoint& checkpoint, ModelConfig c) {
  c.layer_is_attention.assign(static_cast<size_t>(c.n_layers), true);
  if (c.attention.rotary_dims != c.attention.d_head) {
    fail(Fault::unsupported, "{}: {} of a head's {} dimensions rotate; this family rotates all of them",
         checkpoint.path(), c.attention.rotary_dims, c.attention.d_head);
  }
  return c;
}

class Qwen3Moe final : public Decoder {
 public:
  Qwen3Moe(const Checkpoint& checkpoint, bool gguf)
      : Decoder(checkpoint, complete(checkpoint, gguf ? read_gguf(checkpoint) : read_hugging_face(checkpoint))),
        gguf_(gguf) {}
  const char* name() const override { return "qwen3_moe"; }

 private:
  void bind_ends(Binder& b, DecoderEnds& w) override {
    if (gguf_) return GgufLayout(b, config()).ends(w);
    HuggingFaceLayout(b, config(), Transform::none).ends("model.", w);
  }

  void bind_layer(Binder& b, int layer, DecoderLayer& w, ExpertTable& experts) override {
    if (gguf_) {
      const std::string p = fmt::format("blk.{}.", layer);
      GgufLayout layout(b, config());
      layout.layer_norms(p, "ffn_norm.weight", w);
      layout.attention(p, w.attention);
      layout.experts(p, w, experts);
    } else {
      const std::string p = fmt::format("model.layers.{}.", layer);
      HuggingFaceLayout layout(b, config(), Transform::none);
      layout.layer_norms(p, w);
      layout.attention(p, w.attention);
      layout.experts(p, w, experts);
    }
  }

  bool gguf_;
};

}  // namespace

std::unique_ptr<Family> make_qwen3_moe(const Checkpoint& checkpoint) {
  return std::make_unique<Qwen3Moe>(checkpoint, checkpoint.dialect() == Dialect::gguf);
}

}  // namespace flashmoe
