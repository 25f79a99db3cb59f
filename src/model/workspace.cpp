#include "model/workspace.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "experts/source.h"

namespace flashmoe {
namespace {

constexpr int64_t kLeastRows = 8;  // that the arrays are laid out for

// `f32`, `q8`: which forms are wanted; int8 needs whole blocks.
ActivationBuffer take_activations(Arena& arena, int64_t n, int64_t cols, bool f32, bool q8) {
  ActivationBuffer buffer;
  buffer.cols = cols;
  if (f32) buffer.f32 = arena.take<float>(n * cols);
  if (q8 && cols % kActivationBlock == 0) {
    buffer.q8 = arena.take<int8_t>(n * cols);
    buffer.scale = arena.take<float>(n * cols / kActivationBlock);
    buffer.sum = arena.take<float>(n * cols / kActivationBlock);
  }
  return buffer;
}

}  // namespace

Activations ActivationBuffer::rows(int64_t first, int64_t n) const {
  Activations view{n, cols, nullptr, nullptr, nullptr, nullptr};
  if (!f32.empty()) view.f32 = f32.data() + first * cols;
  if (!q8.empty()) {
    view.q8 = q8.data() + first * cols;
    view.scale = scale.data() + first * (cols / kActivationBlock);
    view.sum = sum.data() + first * (cols / kActivationBlock);
  }
  return view;
}

void Workspace::lay_out_gated_scratch(Arena& arena) {
  const int64_t n = std::min(n_, kGatedRows), d_ff = std::max(config_.d_ff_expert, config_.d_ff_shared);
  for (int i = 0; i < shape_.n_threads; ++i) {
    GatedScratch scratch;
    scratch.rows = n;
    scratch.x = take_activations(arena, n, config_.d_model, shape_.float_experts, shape_.quantised);
    scratch.gate = arena.take<float>(n * d_ff);
    scratch.up = arena.take<float>(n * d_ff);
    if (!gated_scratch.empty()) gated_scratch[static_cast<size_t>(i)] = scratch;
  }
}

void Workspace::lay_out_attention(Arena& arena) {
  const AttentionConfig& a = config_.attention;
  const int64_t n = n_, d_model = config_.d_model;
  const bool q8 = shape_.quantised;
  attention.q_proj = arena.take<float>(n * a.n_heads * a.q_stride());
  attention.q = take_activations(arena, n, a.q_width(), true, a.d_head % kActivationBlock == 0);
  attention.k = arena.take<float>(n * a.n_kv_heads * a.d_head);
  attention.v = arena.take<float>(n * a.n_kv_heads * a.d_head);
  attention.largest = arena.take<float>(n * a.n_heads);
  attention.total = arena.take<float>(n * a.n_heads);
  attention.n_partials = std::max(kSpansTogether, n);
  attention.partial_sums = arena.take<float>(attention.n_partials * a.q_width());
  attention.partial_largest = arena.take<float>(attention.n_partials * a.n_heads);
  attention.partial_total = arena.take<float>(attention.n_partials * a.n_heads);
  attention.out = take_activations(arena, n, a.q_width(), true, q8);
  attention.y = arena.take<float>(n * d_model);
}

uint64_t Workspace::lay_out(int64_t n, Arena arena) {
  const ModelConfig& config = config_;
  const int64_t d_model = config.d_model, k = config.n_experts_used;
  n_ = n;
  const bool q8 = shape_.quantised;
  x = arena.take<float>(n * d_model);
  h = take_activations(arena, n, d_model, true, q8);
  rope_cos = arena.take<float>(n * config.attention.rotary_dims / 2);
  rope_sin = arena.take<float>(n * config.attention.rotary_dims / 2);
  const int64_t max_tasks = static_cast<int64_t>(config.n_experts) + 8;
  pieces = arena.take<Piece>(most_pieces(2 * max_tasks, shape_.n_threads));
  tasks = arena.take<MatmulTask>(max_tasks);
  gated = arena.take<GatedTask>(max_tasks);
  gated_scratch = arena.take<GatedScratch>(shape_.n_threads);

  // From here on four phases share the same bytes: a layer's mixer of either kind, its experts, and the logits.
  Arena delta_phase = arena, attention_phase = arena, expert_phase = arena, logits_phase = arena;
  logits = logits_phase.take<float>(kLogitRows * config.vocab_size);

  const DeltaNetConfig d = config.n_delta_layers() > 0 ? config.delta_net : DeltaNetConfig();
  delta.qkv = delta_phase.take<float>(n * d.conv_channels());
  delta.block_rows = std::min<int64_t>(n, kDeltaChunk);
  delta.conv = delta_phase.take<float>(delta.block_rows * d.conv_channels());
  delta.z = delta_phase.take<float>(n * d.value_width());
  delta.alpha = delta_phase.take<float>(n * d.n_value_heads);
  delta.beta = delta_phase.take<float>(n * d.n_value_heads);
  delta.scratch = delta_phase.take<float>(d.n_value_heads * delta_scratch_floats(d.d_key, d.d_value));
  delta.out = take_activations(delta_phase, n, d.value_width(), true, q8);
  delta.y = delta_phase.take<float>(n * d_model);

  lay_out_attention(attention_phase);

  Arena& e = expert_phase;
  moe.router_logits = e.take<float>(n * config.n_experts);
  moe.experts = e.take<int32_t>(n * k);
  moe.weights = e.take<float>(n * k);
  moe.slot_of = e.take<int32_t>(n * k);
  moe.row_of = e.take<int32_t>(n * k);
  const int64_t guessed = std::min(n, std::max(kSampledRows, kGuessedRows));
  guess.h = e.take<float>(guessed * d_model);
  guess.logits = e.take<float>(guessed * config.n_experts);
  guess.picks = e.take<int32_t>(guessed * k);
  guess.experts = e.take<int32_t>(std::max<int64_t>(guessed * k, config.n_experts));
  guess.n_rows = e.take<int32_t>(config.n_experts);
  guess.weights = e.take<float>(k);
  moe.distinct = e.take<int32_t>(config.n_experts);
  moe.group_begin = e.take<int32_t>(config.n_experts + 1);
  moe.arrived = e.take<int32_t>(config.n_experts);
  lay_out_gated_scratch(e);
  moe.act = take_activations(e, n * k, config.d_ff_expert, shape_.float_experts, q8);
  moe.out = e.take<float>(n * k * d_model);
  const int64_t n_shared = config.d_ff_shared > 0 ? n : 0;
  moe.shared_gate = e.take<float>(n_shared);
  moe.shared_act = take_activations(e, n_shared, config.d_ff_shared, true, q8);
  moe.shared_out = e.take<float>(n_shared * d_model);
  return std::max(
      {delta_phase.used_bytes(), attention_phase.used_bytes(), expert_phase.used_bytes(), logits_phase.used_bytes()});
}

uint64_t Workspace::bytes(const ModelConfig& config, const WorkspaceShape& shape) {
  return Workspace(config, shape).lay_out(shape.max_rows, Arena());
}

Workspace::Workspace(const ModelConfig& config, const WorkspaceShape& shape, Budget& budget)
    : Workspace(config, shape) {
  budget_ = &budget;
  buffer_ = Buffer::in_parts(budget, Allotted::workspace, bytes(config, shape));
  fit(shape.max_rows);
}

void Workspace::fit(int64_t rows) {
  CHECK(rows >= 1 && rows <= shape_.max_rows);
  const int64_t wanted = std::max(kLeastRows, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows))));
  const int64_t n = std::min(wanted, shape_.max_rows);
  if (n == n_) return;
  const uint64_t bytes = lay_out(n, Arena());
  const auto had = buffer_.span();
  if (bytes > had.size()) CHECK(buffer_.claim(buffer_.reserved_span().subspan(had.size(), bytes - had.size())));
  if (bytes < had.size() && budget_->lends()) buffer_.give_back(had.subspan(bytes));
  lay_out(n, Arena(buffer_));
}

}  // namespace flashmoe
