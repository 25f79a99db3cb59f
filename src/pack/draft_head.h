// The head for multi-token prediction that Hugging Face and MLX folders have beside the layers. It is not run, but a
// packed folder keeps it, under GGUF's names: one more block.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "model/binder.h"
#include "model/config.h"
#include "model/decoder.h"

namespace flashmoe {

class DraftHead {
 public:
  // Looks for it, in its one-layer form. Throws Error, naming the tensors, when it is there and incomplete.
  DraftHead(const Checkpoint& checkpoint, const ModelConfig& config);
  DraftHead(const DraftHead&) = delete;
  DraftHead& operator=(const DraftHead&) = delete;

  bool is_there() const { return !prefix_.empty(); }
  // All but its routed experts.
  const Binder& binder() const { return binder_; }
  std::string gguf_name(const std::string& name) const;
  // Routed experts, one layer of them.
  const ExpertTable& experts() const { return experts_; }
  // Tensors of the folder's that belong to it start so: "mtp.".
  const std::string& prefix() const { return prefix_; }

 private:
  Binder binder_;
  int block_;  // its number
  std::string prefix_;
  // What the binder fills in and nobody reads.
  DecoderLayer layer_;
  MatrixView projection_;
  std::span<const float> norms_[3];
  ExpertTable experts_;
};

}  // namespace flashmoe
