// A checkpoint as packing sees it: which matrices there are, what each becomes and what it is called in a packed
// folder.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "experts/source.h"
#include "model/binder.h"
#include "model/family.h"
#include "pack/draft_head.h"
#include "pack/gguf_layout.h"
#include "pack/importance.h"
#include "pack/recipe.h"

namespace flashmoe {

// A matrix on its way: rows of `from` become rows of `to`.
struct Conversion {
  std::string name;  // of the source's tensor
  ExpertMatrix from;
  PackedMatrix to;
  Transform transform = Transform::none;
  Extent importance = {};  // of its columns, in the importance file
  bool raw = false;        // bytes of a type that this build does not run, one a value
  bool as_it_is() const { return transform == Transform::none && from.format == to.format && from.grid == to.grid; }
};

// A tensor of the trunk.
struct TrunkTensor {
  std::string name;  // in trunk.gguf
  std::vector<int64_t> shape;
  Conversion matrix;                 // all outer dimensions as rows
  std::vector<ExpertMatrix> stack;   // [shape[0]], where the source's matrices do not follow each other; else empty
  std::optional<uint32_t> raw_type;  // GGUF's, of a type that this build does not run: bytes are copied
};

// Everything that is packed.
class PackSource {
 public:
  // Reads headers. Throws Error as Engine::open does, and for formats that do not fit.
  PackSource(const std::string& path, const Recipe& recipe, const Importance& importance);

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const ModelConfig& config() const { return family_->config(); }
  const std::vector<TrunkTensor>& trunk() const { return trunk_; }
  Conversion expert(int layer, int expert, size_t matrix) const;
  // The manifest as it will be, without sizes of the trunk and checksums.
  const Manifest& manifest() const { return manifest_; }
  Metadata metadata() const;
  const std::vector<std::string>& notes() const { return notes_; }
  // Files with tensors that are not packed.
  const std::set<uint32_t>& files_left_out() const { return files_left_out_; }

 private:
  void plan_trunk_of_gguf(const Recipe& recipe);
  void plan_trunk_of_folder(const Recipe& recipe);
  void plan_experts(const Recipe& recipe);
  void add_trunk(const TensorInfo& tensor, std::string name, std::vector<int64_t> shape, Transform transform,
                 const Recipe& recipe);
  void note_left_out();
  void add_draft_experts(const Recipe& recipe);
  std::string gguf_name(const std::string& name) const;

  const Importance& importance_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Family> family_;
  std::unique_ptr<Binder> binder_;
  std::unique_ptr<DraftHead> draft_;
  ExpertTable experts_;
  std::vector<TrunkTensor> trunk_;
  Manifest manifest_;
  std::vector<std::string> notes_;
  std::set<uint32_t> files_left_out_;
};

}  // namespace flashmoe
