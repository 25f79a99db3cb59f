#include "engine/model_report.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/memory_planner.h"
#include "model/delta_state.h"
#include "model/kv_cache.h"
#include "model/trunk.h"

namespace flashmoe {
namespace {

std::vector<FormatBytes> sum_formats(const Checkpoint& checkpoint) {
  std::map<std::string, FormatBytes> sums;
  const auto add = [&](const std::string& format, uint64_t bytes) {
    FormatBytes& sum = sums[format];
    sum.format = format;
    sum.bytes += bytes;
    ++sum.n_tensors;
  };
  for (const auto& [name, tensor] : checkpoint.tensors()) add(tensor.format_name(), tensor.all_bytes());
  for (const auto& tensor : checkpoint.unsupported_tensors()) add(tensor.format, tensor.bytes);
  std::vector<FormatBytes> sorted;
  for (auto& [name, sum] : sums) sorted.push_back(sum);
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return sorted;
}

// Bytes of trunk weights that one decoded token reads: all but the embedding, of which it reads a row.
uint64_t trunk_bytes_per_token(const BoundModel& model) {
  uint64_t total = 0;
  for (const auto& request : model.binder->matrices()) total += request.bytes();
  const MatrixView& embedding = model.family->embedding();
  const bool tied = &embedding == &model.family->lm_head();
  return tied ? total : total - static_cast<uint64_t>(embedding.bytes() - embedding.bytes() / embedding.rows);
}

}  // namespace

ModelReport report_on(const BoundModel& model) {
  const Checkpoint& checkpoint = *model.checkpoint;
  const ModelConfig& c = model.family->config();
  ModelReport r;
  r.path = checkpoint.path();
  for (const auto& file : checkpoint.files()) r.files.push_back(file->path());
  r.name = c.name;
  r.container = checkpoint.container();
  r.family = model.family->name();
  r.n_layers = c.n_layers;
  r.n_attention_layers = c.n_attention_layers();
  r.d_model = c.d_model;
  r.d_ff_expert = c.d_ff_expert;
  r.d_ff_shared = c.d_ff_shared;
  r.vocab_size = c.vocab_size;
  r.context_tokens = c.context_tokens;
  r.n_experts = c.n_experts;
  r.n_experts_used = c.n_experts_used;
  r.n_heads = static_cast<int>(c.attention.n_heads);
  r.n_kv_heads = static_cast<int>(c.attention.n_kv_heads);
  r.d_head = static_cast<int>(c.attention.d_head);
  r.n_key_heads = static_cast<int>(c.delta_net.n_key_heads);
  r.n_value_heads = static_cast<int>(c.delta_net.n_value_heads);
  r.d_key = static_cast<int>(c.delta_net.d_key);
  r.d_value = static_cast<int>(c.delta_net.d_value);
  r.file_bytes = checkpoint.file_bytes();
  r.n_tensors = checkpoint.tensors().size() + checkpoint.unsupported_tensors().size();
  for (const auto& [name, tensor] : checkpoint.tensors()) r.n_parameters += static_cast<uint64_t>(tensor.n_values());
  r.trunk_bytes = Trunk::bytes(*model.binder, RowsOf::memory);
  r.embedding_bytes = left_in_file(*model.binder, 1).trunk_bytes;
  r.expert_bytes = model.experts.bytes();
  for (int layer = 0; layer < c.n_layers; ++layer) {
    uint64_t largest = 0;
    for (int e = 0; e < c.n_experts; ++e) largest = std::max(largest, model.experts.at(layer, e).bytes());
    r.bytes_per_expert = std::max(r.bytes_per_expert, largest);
    r.expert_bytes_per_token += largest * static_cast<uint64_t>(c.n_experts_used);
  }
  r.trunk_bytes_per_token = trunk_bytes_per_token(model);
  r.kv_bytes_per_token = KvCache::bytes_per_token(c, KvFormat::f16);
  r.state_bytes = DeltaState::bytes(c);
  r.formats = sum_formats(checkpoint);
  for (const auto& [what, bytes] : model.binder->ignored()) r.not_run.push_back({what, bytes});
  Binder::Unused unused = model.binder->unused();
  r.unused_tensors = std::move(unused.names);
  r.unused_bytes = unused.bytes;
  return r;
}

uint64_t decode_bytes_per_token(const ModelReport& model, const MemoryPlan& plan, double position) {
  const double kv_bytes = static_cast<double>(plan.kv_bytes_per_token) * position;
  return model.trunk_bytes_per_token + model.expert_bytes_per_token + static_cast<uint64_t>(kv_bytes) +
         2 * model.state_bytes;
}

}  // namespace flashmoe
