// Every array a step computes into.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "memory/arena.h"
#include "model/config.h"
#include "model/pieces.h"

namespace flashmoe {

inline constexpr int64_t kLogitRows = 8;       // rows of logits computed at a time
inline constexpr int64_t kAttentionRows = 16;  // tokens that go through the spans of a sequence together
inline constexpr int64_t kSpansTogether = 64;  // spans, times tokens, that are computed before they are merged

inline constexpr int64_t kGatedRows = 96;    // rows of a GatedTask that are computed together, at most
inline constexpr int64_t kSampledRows = 64;  // of a long step, which its guesses are made of

struct WorkspaceShape {
  int64_t max_rows = 0;        // rows of the largest batch
  bool quantised = true;       // int8 activations are used: false in exact mode
  bool float_experts = false;  // routed experts read f32 activations: exact mode, or F32/F16/BF16 experts
  int n_threads = 1;           // that compute
};

// f32 rows and, unless exact, their int8 form.
struct ActivationBuffer {
  int64_t cols = 0;
  std::span<float> f32;    // [n, cols]
  std::span<int8_t> q8;    // [n, cols]
  std::span<float> scale;  // [n, cols / 32]
  std::span<float> sum;    // [n, cols / 32]

  Activations rows(int64_t first, int64_t n) const;
};

// One matmul among several that run together.
struct MatmulTask {
  MatrixView w;
  Activations x;
  float* y = nullptr;  // [x.n, w.rows] with y_stride
  int64_t y_stride = 0;
  bool exact = false;  // f32 activations whatever the mode: routers
};

// The first half of an expert: act = silu(gate x) * (up x) over n rows, in those forms that `act` has. A piece computes
// the same rows of gate and up and makes that part of act at once, so nothing waits for the whole of either.
struct GatedTask {
  MatrixView gate, up;  // [d_ff, x->cols]
  const ActivationBuffer* x = nullptr;
  const int32_t* row_of = nullptr;  // [n] rows of x; null: the first n
  int64_t n = 0;
  ActivationBuffer* act = nullptr;  // rows [first, first + n) are written
  int64_t first = 0;
};

// What a thread computes a GatedTask in, some rows at a time: little enough to stay in its cache.
struct GatedScratch {
  int64_t rows = 0;
  ActivationBuffer x;         // [rows, d_model] side by side
  std::span<float> gate, up;  // [rows, d_ff]
};

class Workspace {
 public:
  // Of Allotted::workspace for the largest batch.
  static uint64_t bytes(const ModelConfig& config, const WorkspaceShape& shape);
  // Laid out for shape.max_rows. The budget must outlive it.
  Workspace(const ModelConfig& config, const WorkspaceShape& shape, Budget& budget);
  const WorkspaceShape& shape() const { return shape_; }

  // Lays the arrays out for a step of `rows` (1 to shape().max_rows) and some more, and gives back the memory that this
  // leaves, if it is lent. What they held is lost. CHECKs the allotment.
  void fit(int64_t rows);
  int64_t n() const { return n_; }  // rows that they are laid out for

  // Whole step.
  std::span<float> x;                     // [n, d_model] residual stream
  ActivationBuffer h;                     // [n, d_model] normed input of a stage; after the last layer the final hidden
  std::span<float> rope_cos, rope_sin;    // [n, rotary_dims / 2]
  std::span<float> logits;                // [kLogitRows, vocab_size]
  std::span<Piece> pieces;                // of the tasks that run together
  std::span<MatmulTask> tasks;            // [max tasks]
  std::span<GatedTask> gated;             // [max tasks]
  std::span<GatedScratch> gated_scratch;  // [n_threads]

  // Gated DeltaNet; empty where no layer is one.
  struct {
    std::span<float> qkv;          // [n, conv_channels] projected
    int64_t block_rows = 0;        // n, or kDeltaChunk if that is less
    std::span<float> conv;         // [conv_channels, block_rows] after the convolution, head by head
    std::span<float> z;            // [n, value_width]
    std::span<float> alpha, beta;  // [n, n_value_heads] log decay and update strength
    std::span<float> scratch;      // [n_value_heads, delta_scratch_floats]
    ActivationBuffer out;          // [n, value_width]
    std::span<float> y;            // [n, d_model]
  } delta;

  // Full attention.
  struct {
    std::span<float> q_proj;  // [n, n_heads, q_stride] as projected: q d_head, then gate d_head if there is one
    std::span<float> k, v;    // [n, n_kv_heads, d_head]
    // The rows that share a key/value head side by side, [n_kv_heads, n, heads per kv head, ..]
    ActivationBuffer q;               // [.., d_head], always with its int8 form where heads are whole blocks
    std::span<float> largest, total;  // [..] of the softmax so far
    // Spans on their way to be merged, likewise with n_partials for n.
    int64_t n_partials;
    std::span<float> partial_sums, partial_largest, partial_total;
    ActivationBuffer out;  // [n, n_heads * d_head]
    std::span<float> y;    // [n, d_model]
  } attention;

  // What the next layer may pick.
  struct {
    std::span<float> h;          // [rows, d_model], rows: n or kSampledRows, whichever is less
    std::span<float> logits;     // [rows, n_experts]
    std::span<int32_t> picks;    // [rows, k], likeliest first
    std::span<int32_t> experts;  // [k, rows], or distinct ones [n_experts]
    std::span<int32_t> n_rows;   // [n_experts] that guess an expert
    std::span<float> weights;    // [k]
  } guess;

  // Mixture of experts. A slot is one (row, pick); slots are sorted by expert, then row.
  struct {
    std::span<float> router_logits;  // [n, n_experts]
    std::span<int32_t> experts;      // [n, k] picks, best first
    std::span<float> weights;        // [n, k]
    std::span<int32_t> slot_of;      // [n, k]
    std::span<int32_t> row_of;       // [n * k] by slot
    std::span<int32_t> distinct;     // [n_experts] expert ids that were picked, ascending
    std::span<int32_t> group_begin;  // [n_experts + 1] first slot of distinct[i]
    std::span<int32_t> arrived;      // [n_experts]
    ActivationBuffer act;            // [n * k, d_ff_expert], f32 where float_experts
    std::span<float> out;            // [n * k, d_model]
    std::span<float> shared_gate;    // [n] logit of its weight; this and the rest: empty without a shared expert
    ActivationBuffer shared_act;     // [n, d_ff_shared]
    std::span<float> shared_out;     // [n, d_model]
  } moe;

 private:
  Workspace(const ModelConfig& config, const WorkspaceShape& shape) : config_(config), shape_(shape) {}
  uint64_t lay_out(int64_t n, Arena arena);
  void lay_out_gated_scratch(Arena& arena);
  void lay_out_attention(Arena& arena);

  ModelConfig config_;
  WorkspaceShape shape_;
  int64_t n_ = 0;
  const Budget* budget_ = nullptr;
  Buffer buffer_;
};

}  // namespace flashmoe
