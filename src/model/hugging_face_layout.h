// What Hugging Face and MLX folders of several families have in common: fields of config.json and names of tensors.
#pragma once

#include <string>

#include "model/decoder.h"
#include "model/fields.h"

namespace flashmoe {

// Dimensions out of config.json; all throw Error as Fields does.
namespace hugging_face {

// Throws Error{unsupported} for settings that change what a layer computes and that no family here computes.
void refuse_variants(const Checkpoint& checkpoint, const Fields& f);
void read_model(const Fields& f, ModelConfig& c);
// rotary_share: of a head's dimensions, where config.json does not say.
void read_attention(const Fields& f, double rotary_share, ModelConfig& c);
void read_delta_net(const Fields& f, ModelConfig& c);
// Which layers are attention: every fourth where config.json does not say.
void read_layer_kinds(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c);
// All but picks_sum_to_one and d_ff_shared.
void read_experts(const Fields& f, ModelConfig& c);

}  // namespace hugging_face

// Asks a binder for tensors by their names. `p` is what the names start with: "model.layers.0.".
class HuggingFaceLayout {
 public:
  // norms: how all norms but a delta-net's own are stored; MLX stores what is multiplied.
  HuggingFaceLayout(Binder& binder, const ModelConfig& config, Transform norms)
      : b_(binder), c_(config), norms_(binder.dialect() == Dialect::mlx ? Transform::none : norms) {}

  // What is in no layer; `p` is "model.", or in some MLX folders "language_model.model.".
  void ends(const std::string& p, DecoderEnds& w);
  void layer_norms(const std::string& p, DecoderLayer& w);
  void attention(const std::string& p, AttentionWeights& w);
  // All but the projections of h, which families store in different ways.
  void delta_net(const std::string& p, DeltaNetWeights& w);
  // The router, the shared expert if there is one, and the routed experts, stacked or one by one.
  void experts(const std::string& p, DecoderLayer& w, ExpertTable& table);

 private:
  void norm(std::span<const float>& weight, const std::string& name) { b_.vector(weight, name, {c_.d_model}, norms_); }
  Binder& b_;
  const ModelConfig& c_;
  Transform norms_;
};

}  // namespace flashmoe
