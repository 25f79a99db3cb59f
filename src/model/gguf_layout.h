// What GGUF files of several families have in common: metadata keys and names of tensors.
#pragma once

#include <string>

#include "model/decoder.h"
#include "model/fields.h"

namespace flashmoe {

// Dimensions out of the metadata under an architecture's prefix; all throw Error as Fields does.
namespace gguf {

// Throws Error{unsupported} for settings that change what a layer computes and that no family here computes.
void refuse_variants(const Fields& f);
void read_model(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c);
// Heads rotate in all their dimensions where the file does not say.
void read_attention(const Fields& f, ModelConfig& c);
void read_delta_net(const Fields& f, HeadOrder order, ModelConfig& c);
// Which layers are attention: every fourth where the file does not say.
void read_layer_kinds(const Checkpoint& checkpoint, const Fields& f, ModelConfig& c);
// All but d_ff_shared.
void read_experts(const Fields& f, ModelConfig& c);

}  // namespace gguf

// Asks a binder for tensors by their names. `p` is what the names start with: "blk.0.".
class GgufLayout {
 public:
  GgufLayout(Binder& binder, const ModelConfig& config) : b_(binder), c_(config) {}

  // What is in no layer; the layers of a draft head are known and not needed.
  void ends(DecoderEnds& w);
  // experts_norm: what the norm before the experts is called.
  void layer_norms(const std::string& p, const char* experts_norm, DecoderLayer& w);
  void attention(const std::string& p, AttentionWeights& w);
  // All but the projections of h, which families store in different ways.
  void delta_net(const std::string& p, DeltaNetWeights& w);
  // The router, the shared expert if there is one, and the routed experts.
  void experts(const std::string& p, DecoderLayer& w, ExpertTable& table);

 private:
  Binder& b_;
  const ModelConfig& c_;
};

}  // namespace flashmoe
