#include "pack/source.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shown_name.h"
#include "pack/names.h"
#include "quant/encode.h"
#include "text/chat_template.h"
#include "text/tokenizer_parts.h"

namespace flashmoe {
namespace {

constexpr const char* kMatrixNames[] = {"gate", "up", "down"};

PackedMatrix packed(const ExpertMatrix& from, std::optional<Format> format, ScaleType scale_type) {
  if (!format) return {from.format, from.grid, from.rows, from.cols};
  ScaleGrid grid;
  if (n_scale_matrices(*format) > 0) grid = {scale_type, 1, 64, 0};
  return {*format, grid, from.rows, from.cols};
}

uint32_t type_named(const std::string& name) {
  for (uint32_t type = 0; type < 64; ++type) {
    if (gguf_type_name(type) == name) return type;
  }
  return 24;  // bytes
}

// What rows fit in that the format asked for cannot hold.
Format fallback(int64_t cols) { return fits(Format::q8_0, cols) ? Format::q8_0 : Format::f16; }

}  // namespace

PackSource::PackSource(const std::string& path, const Recipe& recipe, const Importance& importance)
    : importance_(importance), checkpoint_(Checkpoint::open(path)) {
  family_ = make_family(*checkpoint_);
  binder_ = std::make_unique<Binder>(*checkpoint_);
  family_->bind(*binder_, experts_);
  binder_->throw_if_incomplete();
  recipe.check_layers(config().n_layers);
  plan_experts(recipe);
  if (checkpoint_->dialect() == Dialect::gguf) {
    plan_trunk_of_gguf(recipe);
  } else {
    plan_trunk_of_folder(recipe);
  }
  const bool has_draft_head = std::any_of(trunk_.begin(), trunk_.end(), [&](const TrunkTensor& tensor) {
    return trunk_part(tensor.name, config().n_layers).layer >= config().n_layers;
  });
  if (recipe.for_draft_head() && !has_draft_head) fail(Fault::usage, "--draft-head: {} has none", checkpoint_->path());
  for (const TrunkTensor& tensor : trunk_) {
    if (tensor.raw_type || n_scale_matrices(tensor.matrix.to.format) == 0) continue;
    PackedMatrix matrix = tensor.matrix.to;
    matrix.rows = tensor.shape[tensor.shape.size() - 2];
    manifest_.apart.push_back({tensor.name, matrix, tensor.shape});
  }
}

Conversion PackSource::expert(int layer, int expert, size_t matrix) const {
  const ExpertMatrix& from = *experts_.at(layer, expert).matrices()[matrix];
  const char* role = kMatrixNames[matrix];
  return {fmt::format("{} of expert {} of layer {}", role, expert, layer), from,
          manifest_.layers[static_cast<size_t>(layer)].matrices[matrix], Transform::none,
          importance_.of_expert(layer, role, expert, experts_.n_experts, from.cols)};
}

void PackSource::plan_experts(const Recipe& recipe) {
  manifest_.n_experts = experts_.n_experts;
  for (int layer = 0; layer < experts_.n_layers; ++layer) {
    PackedLayer& packed_layer = manifest_.layers.emplace_back();
    for (size_t m = 0; m < 3; ++m) {
      const ExpertMatrix& first = *experts_.at(layer, 0).matrices()[m];
      const auto format = recipe.format(kMatrixNames[m], layer);
      if (format && !fits(*format, first.cols)) {
        fail(Fault::usage, "{}: {} of layer {} has rows of {} values, which {} cannot hold; choose another format",
             checkpoint_->path(), kMatrixNames[m], layer, first.cols, format_word(*format));
      }
      packed_layer.matrices[m] = packed(first, format, recipe.scale_type());
      for (int e = 1; e < experts_.n_experts; ++e) {
        const ExpertMatrix& other = *experts_.at(layer, e).matrices()[m];
        if (format || (other.format == first.format && other.grid == first.grid)) continue;
        fail(Fault::unsupported, "{}: experts of layer {} differ in format ({} and {}); choose one with --experts",
             checkpoint_->path(), layer, format_info(first.format).name, format_info(other.format).name);
      }
    }
  }
}

void PackSource::add_trunk(const TensorInfo& tensor, std::string name, std::vector<int64_t> shape, Transform transform,
                           const Recipe& recipe) {
  TrunkTensor entry;
  entry.name = std::move(name);
  Conversion& c = entry.matrix;
  c.name = tensor.name;
  c.transform = transform;
  const int64_t cols = tensor.shape.empty() ? 1 : tensor.shape.back();
  c.from = expert_matrix(tensor.n_values() / cols, cols, tensor.format, tensor.grid);
  c.from.parts = {Extent{tensor.file, tensor.offset, tensor.bytes}, tensor.scales, tensor.biases};
  const TrunkPart part = trunk_part(entry.name, config().n_layers);
  auto format = recipe.format(part.role, part.layer);
  if (transform != Transform::none) format = Format::f32;  // what is computed from the file's values is kept exactly
  if (format && n_scale_matrices(*format) > 0 && shape.size() < 2) format = Format::q8_0;
  if (format && !fits(*format, cols)) {
    notes_.push_back(fmt::format("{} has rows of {} values, which {} cannot hold: packed as {}", entry.name, cols,
                                 format_word(*format), format_word(fallback(cols))));
    format = fallback(cols);
  }
  c.to = packed(c.from, format, recipe.scale_type());
  c.importance = importance_.of_tensor(tensor.name, cols);
  entry.shape = std::move(shape);
  trunk_.push_back(std::move(entry));
}

void PackSource::plan_trunk_of_gguf(const Recipe& recipe) {
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    if (!is_routed_experts(name, config().n_layers)) add_trunk(tensor, name, tensor.shape, Transform::none, recipe);
  }
  for (const UnsupportedTensor& tensor : checkpoint_->unsupported_tensors()) {
    TrunkTensor entry;
    entry.name = entry.matrix.name = tensor.name;
    entry.raw_type = type_named(tensor.format);
    entry.shape = tensor.shape;
    Conversion& c = entry.matrix;
    c.from.rows = 1;
    c.from.parts[0] = {tensor.file, tensor.offset, tensor.bytes};
    trunk_.push_back(std::move(entry));
  }
}

std::string PackSource::gguf_name(const std::string& name) const {
  const char* experts_norm = config().n_delta_layers() > 0 ? "post_attention_norm.weight" : "ffn_norm.weight";
  const auto found = gguf_name_of(name, experts_norm);
  if (!found) fail(Fault::unsupported, "{}: GGUF has no name for tensor {}", checkpoint_->path(), in_quotes(name));
  return *found;
}

void PackSource::plan_trunk_of_folder(const Recipe& recipe) {
  std::set<std::string> seen;
  const auto add = [&](const TensorInfo& tensor, Transform transform) {
    if (!seen.insert(tensor.name).second) return;
    std::vector<int64_t> shape = tensor.shape;
    // GGUF drops the unit dimension of a convolution, and that of a single row where its format allows.
    if (n_scale_matrices(tensor.format) == 0) std::erase(shape, 1);
    if (shape.empty()) shape = {1};
    TensorInfo as_rows = tensor;
    if (n_scale_matrices(tensor.format) == 0) as_rows.shape = shape;
    const bool draft = draft_->is_there() && tensor.name.starts_with(draft_->prefix());
    add_trunk(as_rows, draft ? draft_->gguf_name(tensor.name) : gguf_name(tensor.name), shape, transform, recipe);
  };
  draft_ = std::make_unique<DraftHead>(*checkpoint_, config());
  for (const Binder* binder : {static_cast<const Binder*>(binder_.get()), &draft_->binder()}) {
    for (const auto& request : binder->matrices()) add(*request.tensor, Transform::none);
    for (const auto& request : binder->vectors()) add(*request.tensor, request.transform);
  }
  if (draft_->is_there()) add_draft_experts(recipe);
  std::sort(trunk_.begin(), trunk_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  note_left_out();
}

void PackSource::note_left_out() {
  size_t n_left_out = 0;
  const auto leave_out = [&](const std::string& name) {
    ++n_left_out;
    if (const TensorInfo* tensor = checkpoint_->find(name)) files_left_out_.insert(tensor->file);
    for (const UnsupportedTensor& tensor : checkpoint_->unsupported_tensors()) {
      if (tensor.name == name) files_left_out_.insert(tensor.file);
    }
  };
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    const bool draft = name.starts_with("mtp.") && !draft_->is_there();
    if (draft || name.find("visual.") != std::string::npos || name.starts_with("vision_tower.")) leave_out(name);
  }
  for (const std::string& name : binder_->unused().names) leave_out(name);
  if (n_left_out > 0) {
    notes_.push_back(fmt::format("{} tensors of a vision tower or of parts that are not run are left out", n_left_out));
  }
}

// Formats whose scales span rows have no place in a stack of their own: 8 bits hold them as well.
void PackSource::add_draft_experts(const Recipe& recipe) {
  for (size_t m = 0; m < 3; ++m) {
    TrunkTensor entry;
    entry.name = fmt::format("blk.{}.ffn_{}_exps.weight", config().n_layers, kMatrixNames[m]);
    auto format = recipe.format("mtp", config().n_layers);
    for (const ExpertRecord& record : draft_->experts().records) {
      entry.stack.push_back(*record.matrices()[m]);
      const ExpertMatrix &one = entry.stack.back(), &first = entry.stack.front();
      const bool alike = one.format == first.format && one.grid == first.grid && one.grid.group_rows <= 1;
      if (!alike && !format) format = Format::q8_0;
    }
    const ExpertMatrix& first = entry.stack.front();
    if (format && !fits(*format, first.cols)) format = fallback(first.cols);
    const auto n = static_cast<int64_t>(entry.stack.size());
    entry.shape = {n, first.rows, first.cols};
    Conversion& c = entry.matrix;
    c.name = entry.name;
    c.from = expert_matrix(n * first.rows, first.cols, first.format, first.grid);
    c.to = packed(c.from, format, recipe.scale_type());
    trunk_.push_back(std::move(entry));
  }
}

Metadata PackSource::metadata() const {
  if (checkpoint_->dialect() == Dialect::gguf) {
    Metadata metadata = checkpoint_->metadata();
    std::erase_if(metadata, [](const auto& entry) {
      return entry.first.starts_with("split.") || entry.first == "general.alignment";
    });
    return metadata;
  }
  const ModelConfig& c = config();
  Metadata m;
  if (const auto parts = parts_of(*checkpoint_)) m = metadata_of(*parts);
  if (const auto chat = ChatTemplate::source_of(*checkpoint_)) m["tokenizer.chat_template"] = *chat;
  const std::string architecture = gguf_architecture(*checkpoint_), p = architecture + ".";
  const auto count = [&](const char* key, int64_t value) { m[p + key] = static_cast<uint64_t>(value); };
  m["general.architecture"] = architecture;
  m["general.quantization_version"] = uint64_t{2};
  count("block_count", c.n_layers + (draft_->is_there() ? 1 : 0));
  if (draft_->is_there()) count("nextn_predict_layers", 1);
  count("context_length", c.context_tokens);
  count("embedding_length", c.d_model);
  count("vocab_size", c.vocab_size);
  count("attention.head_count", c.attention.n_heads);
  count("attention.head_count_kv", c.attention.n_kv_heads);
  count("attention.key_length", c.attention.d_head);
  count("attention.value_length", c.attention.d_head);
  count("rope.dimension_count", c.attention.rotary_dims);
  m[p + "attention.layer_norm_rms_epsilon"] = static_cast<double>(c.norm_eps);
  m[p + "rope.freq_base"] = c.attention.rope_theta;
  count("expert_count", c.n_experts);
  count("expert_used_count", c.n_experts_used);
  count("expert_feed_forward_length", c.d_ff_expert);
  m[p + "expert_weights_norm"] = c.picks_sum_to_one;
  if (c.d_ff_shared > 0) count("expert_shared_feed_forward_length", c.d_ff_shared);
  if (c.n_delta_layers() == 0) return m;
  count("ssm.conv_kernel", kConvWidth);
  count("ssm.inner_size", c.delta_net.value_width());
  count("ssm.state_size", c.delta_net.d_key);
  count("ssm.time_step_rank", c.delta_net.n_value_heads);
  count("ssm.group_count", c.delta_net.n_key_heads);
  m[p + "ssm.value_head_order"] = c.delta_net.head_order == HeadOrder::grouped ? "grouped" : "tiled";
  std::vector<int64_t> recurrent;
  for (const bool attention : c.layer_is_attention) recurrent.push_back(attention ? 0 : 1);
  if (draft_->is_there()) recurrent.push_back(0);
  m[p + "attention.recurrent_layers"] = std::move(recurrent);
  return m;
}

}  // namespace flashmoe
