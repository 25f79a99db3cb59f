#include "model/decoder.h"

#include "base/error.h"
#include "model/dimensions.h"
#include "model/stages/combine.h"
#include "model/stages/narrow.h"
#include "model/stages/norm.h"
#include "model/stages/routed_experts.h"
#include "model/stages/router.h"

namespace flashmoe {
namespace {

void check(const Checkpoint& checkpoint, const ModelConfig& c) {
  const auto require = [&](bool holds, const char* what) {
    if (!holds) fail(Fault::input, "{}: the model's dimensions do not fit together: {}", checkpoint.path(), what);
  };
  require(c.attention.n_heads % c.attention.n_kv_heads == 0, "query heads are not a multiple of key/value heads");
  require(c.attention.d_head >= 1, "the width of a head");
  require(c.attention.rotary_dims % 2 == 0 && c.attention.rotary_dims <= c.attention.d_head, "rotary dimensions");
  // A token's activations are of the order of these; beyond this the file is damaged, not large.
  require(c.attention.q_width() <= kMaxDim, "heads times head width");
  if (c.n_delta_layers() == 0) return;
  require(c.delta_net.n_value_heads % c.delta_net.n_key_heads == 0, "value heads are not a multiple of key heads");
  require(c.delta_net.d_value >= 1, "the width of a value head");
  require(c.delta_net.value_width() <= kMaxDim && c.delta_net.key_width() <= kMaxDim, "heads times head width");
}

}  // namespace

Decoder::Decoder(const Checkpoint& checkpoint, ModelConfig config)
    : config_(std::move(config)), layers_(static_cast<size_t>(config_.n_layers)) {
  check(checkpoint, config_);
  int n_attention = 0, n_delta = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].is_attention = config_.layer_is_attention[i];
    layers_[i].attention.slot = n_attention;
    layers_[i].delta_net.slot = n_delta;
    ++(layers_[i].is_attention ? n_attention : n_delta);
  }
}

void Decoder::bind(Binder& binder, ExpertTable& experts) {
  experts.n_layers = config_.n_layers;
  experts.n_experts = config_.n_experts;
  experts.n_used = config_.n_experts_used;
  bind_ends(binder, ends_);
  for (int i = 0; i < config_.n_layers; ++i) bind_layer(binder, i, layers_[static_cast<size_t>(i)], experts);
}

void Decoder::forward_layer(int layer, Step& step) const {
  const DecoderLayer& w = layers_[static_cast<size_t>(layer)];
  const bool last = layer + 1 == config_.n_layers;
  step.profile.kind = w.is_attention ? LayerKind::attention : LayerKind::delta_net;
  norm(step, Stage::norm_mix, w.mixer_norm);
  if (w.is_attention) {
    attention(step, w.attention, last);
  } else {
    delta_net(step, w.delta_net);
    if (last) narrow(step);
  }
  if (step.n() == 0) return;
  norm(step, Stage::norm_route, w.experts_norm);
  const int n_distinct = route(step, layer, w.router);
  Lease lease = fetch(step, layer, n_distinct);
  const DecoderLayer& after = layers_[static_cast<size_t>(last ? layer : layer + 1)];
  const NextRouter next{layer + 1, after.experts_norm, after.router};
  // Of rows that end in the next layer nothing is to be guessed there.
  const bool guesses = layer + (step.narrows() ? 2 : 1) < config_.n_layers;
  experts(step, layer, n_distinct, std::move(lease), config_.d_ff_shared > 0 ? &w.shared : nullptr,
          guesses ? &next : nullptr);
  combine(step);
}

}  // namespace flashmoe
