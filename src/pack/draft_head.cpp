#include "pack/draft_head.h"

#include <fmt/format.h>

#include "base/check.h"
#include "model/hugging_face_layout.h"
#include "pack/names.h"

namespace flashmoe {
namespace {

struct Part {
  const char* folder;
  const char* gguf;
};
constexpr Part kProjection = {"fc.weight", "nextn.eh_proj.weight"};
constexpr Part kNorms[] = {{"pre_fc_norm_embedding.weight", "nextn.enorm.weight"},
                           {"pre_fc_norm_hidden.weight", "nextn.hnorm.weight"},
                           {"norm.weight", "nextn.shared_head_norm.weight"}};

// What the names of its tensors start with; empty: there is none.
std::string prefix_in(const Checkpoint& checkpoint) {
  if (checkpoint.dialect() == Dialect::gguf) return "";
  for (const char* prefix : {"mtp.", "language_model.mtp.", "model.mtp."}) {
    if (checkpoint.find(prefix + std::string(kProjection.folder)) != nullptr) return prefix;
  }
  return "";
}

}  // namespace

DraftHead::DraftHead(const Checkpoint& checkpoint, const ModelConfig& config)
    : binder_(checkpoint), block_(config.n_layers), prefix_(prefix_in(checkpoint)) {
  if (!is_there()) return;
  experts_.n_layers = 1;
  experts_.n_experts = config.n_experts;
  const Transform stored = checkpoint.dialect() == Dialect::mlx ? Transform::none : Transform::one_plus;
  binder_.matrix(projection_, prefix_ + kProjection.folder, config.d_model, 2 * config.d_model);
  for (size_t i = 0; i < std::size(kNorms); ++i) {
    binder_.vector(norms_[i], prefix_ + kNorms[i].folder, {config.d_model}, stored);
  }
  HuggingFaceLayout layout(binder_, config, Transform::one_plus);
  const std::string layer = prefix_ + "layers.0.";
  layout.layer_norms(layer, layer_);
  layout.attention(layer, layer_.attention);
  layout.experts(layer, layer_, experts_);
  binder_.throw_if_incomplete();
}

std::string DraftHead::gguf_name(const std::string& name) const {
  const std::string rest = name.substr(prefix_.size()), block = fmt::format("blk.{}.", block_);
  if (rest == kProjection.folder) return block + kProjection.gguf;
  for (const Part& norm : kNorms) {
    if (rest == norm.folder) return block + norm.gguf;
  }
  const auto found = gguf_name_of(rest, "post_attention_norm.weight");
  CHECK(found && found->starts_with("blk.0."));
  return block + found->substr(6);
}

}  // namespace flashmoe
