// A family whose layers are a mixer (attention or Gated DeltaNet) and routed experts, with or without a shared one: its
// weights, and what such a layer computes. Which tensors they come from is each family's own.
#pragma once

#include <vector>

#include "model/family.h"
#include "model/stages/attention.h"
#include "model/stages/delta_net.h"
#include "model/stages/shared_expert.h"

namespace flashmoe {

struct DecoderLayer {
  std::span<const float> mixer_norm;  // [d_model]
  bool is_attention = false;          // which of the next two is in use
  AttentionWeights attention;
  DeltaNetWeights delta_net;
  std::span<const float> experts_norm;  // [d_model]
  MatrixView router;                    // [n_experts, d_model]
  SharedExpertWeights shared;           // in use when d_ff_shared > 0
};

// What comes before the layers and after them.
struct DecoderEnds {
  MatrixView embedding, lm_head;      // [vocab_size, d_model]; lm_head in use unless the embedding is tied
  std::span<const float> final_norm;  // [d_model]
};

class Decoder : public Family {
 public:
  const ModelConfig& config() const final { return config_; }
  const MatrixView& embedding() const final { return ends_.embedding; }
  std::span<const float> final_norm() const final { return ends_.final_norm; }
  const MatrixView& lm_head() const final { return config_.tied_embeddings ? ends_.embedding : ends_.lm_head; }
  void bind(Binder& binder, ExpertTable& experts) final;
  void forward_layer(int layer, Step& step) const final;

 protected:
  // Throws Error{input} unless the dimensions fit together.
  Decoder(const Checkpoint& checkpoint, ModelConfig config);
  // Also tells the binder what is known and not needed.
  virtual void bind_ends(Binder& binder, DecoderEnds& ends) = 0;
  virtual void bind_layer(Binder& binder, int layer, DecoderLayer& weights, ExpertTable& experts) = 0;

 private:
  ModelConfig config_;
  DecoderEnds ends_;
  std::vector<DecoderLayer> layers_;
};

}  // namespace flashmoe
