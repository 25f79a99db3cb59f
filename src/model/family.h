// A family of models: how its checkpoints are read and what one of its layers computes. One file in families/ each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/binder.h"
#include "model/config.h"
#include "model/step.h"

namespace flashmoe {

class Family {
 public:
  virtual ~Family() = default;
  virtual const char* name() const = 0;
  virtual const ModelConfig& config() const = 0;

  // Asks the binder for every tensor; fills `experts` [n_layers, n_experts]. Called once, before forward_layer.
  virtual void bind(Binder& binder, ExpertTable& experts) = 0;

  virtual const MatrixView& embedding() const = 0;              // [vocab_size, d_model]
  virtual std::span<const float> final_norm() const = 0;        // [d_model]
  virtual const MatrixView& lm_head() const = 0;                // [vocab_size, d_model]
  virtual void forward_layer(int layer, Step& step) const = 0;  // x -> x
};

// The family of a checkpoint, its dimensions read and checked. Throws Error{unsupported} that names the checkpoint's
// own family and those this version runs; Error{input} for absurd or missing dimensions.
std::unique_ptr<Family> make_family(const Checkpoint& checkpoint);

// What GGUF files call the family of a checkpoint that make_family takes.
std::string gguf_architecture(const Checkpoint& checkpoint);

}  // namespace flashmoe
