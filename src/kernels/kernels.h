// The table of kernels: every number the model computes is computed by one of these entries.
//
// cpu/scalar is the specification (plain loops, double accumulation); cpu/avx2, cpu/avx512 and cpu/neon overwrite
// entries.
// All entries are noexcept, allocate nothing, may run on several threads at once on disjoint outputs, and take pointers
// of any alignment for weights, natural alignment for activations. For every entry, the result for one row (token) has
// the same bits whatever the other rows in the call, the row range, and the number of rows: matvec and matmul agree.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/kv_tile.h"
#include "memory/view.h"

namespace flashmoe {

inline constexpr int kActivationBlock = 32;       // values that share one int8 scale
inline constexpr int kActivationGroup = 256;      // values whose scales are whole multiples of one number
inline constexpr int kMostActivationScale = 127;  // times that number
inline constexpr int kMostActivationSum = 2184;  // of |q8| in a block: times 15, the largest of 4 bits, it fits 16 bits
inline constexpr int kDeltaChunk = 64;           // tokens per block of the chunked delta rule
inline constexpr int kMatmulTileRows = 32;       // weight rows that are multiplied together
inline constexpr int kInterleavedRows = 16;      // weight rows that lie interleaved
inline constexpr int64_t kMostInterleavedCols = 32768;

// Activations x [n, cols] of one matmul: f32 rows, and their int8 form where the kernel wants it: round(x / scale). The
// scale of a block is a whole multiple, 0 to kMostActivationScale, of what the blocks of its group (kActivationGroup
// values from the beginning of the row on; the last group may be shorter) share, so that sums over a group can stay
// whole; that of one of them, unless all are zero, is the largest multiple. Scales of a group with a value that is not
// finite are NaN, and with them what is computed of it.
struct Activations {
  int64_t n = 0;
  int64_t cols = 0;
  const float* f32 = nullptr;    // [n, cols]
  const int8_t* q8 = nullptr;    // [n, cols]             -127 to 127, at most kMostActivationSum in a block
  const float* scale = nullptr;  // [n, cols / 32]
  const float* sum = nullptr;    // [n, cols / 32]        scale * sum(q8) of the block, for formats with a minimum
};

// y[i * y_stride + r] = sum_c w[r, c] * x[i, c] for i in [0, x.n), r in [row_begin, row_end).
// Any range gives the same bits; the fastest are whole tiles of kMatmulTileRows. A call prepares its activations once
// for all its rows, which costs about as much as 8 of them: ranges of 256 rows or more are best.
using Matmul = void (*)(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                        int64_t row_end) noexcept;

// One value head of the gated delta rule (docs/one-token.md, stage 4), over n tokens of one sequence.
//   S *= exp(log_decay[t]); d = (v[t] - S^T k[t]) * beta[t]; S += k[t] d^T; o[t] = S^T q[t]
struct DeltaHead {
  int64_t n = 0;  // tokens
  int64_t d_key = 0, d_value = 0;
  const float* q = nullptr;          // [n, d_key] with qk_stride; l2-normalised and scaled already
  const float* k = nullptr;          // [n, d_key] with qk_stride; l2-normalised already
  const float* v = nullptr;          // [n, d_value] with v_stride
  const float* log_decay = nullptr;  // [n] with gate_stride, <= 0
  const float* beta = nullptr;       // [n] with gate_stride
  float* state = nullptr;            // S [d_key, d_value], read and written
  float* out = nullptr;              // [n, d_value] with out_stride
  float* scratch = nullptr;          // delta_scratch_floats(d_key, d_value) floats; chunked form only
  int64_t qk_stride = 0, v_stride = 0, gate_stride = 0, out_stride = 0;
};
constexpr int64_t delta_scratch_floats(int64_t d_key, int64_t d_value) {
  return kDeltaChunk * (4 * kDeltaChunk + d_key + d_value + 3);
}

// Attention of the query heads that share one key/value head, for tokens that follow one another, over one span of
// positions, of which each token sees one more than that before it:
//   largest = max of s[p] = q . k[p] * scale; total = sum of e^(s[p] - largest); sums = sum of e^(s[p] - largest) v[p]
// Spans are cut at multiples of kAttentionSpan from position 0 and merged in order, whoever computes them and when:
// a token's result does not depend on how its spans are shared out.
inline constexpr int64_t kAttentionSpan = 512;
struct AttentionSpan {
  int64_t n_rows = 1;       // tokens
  int64_t n_positions = 0;  // of the first row, 1 to kAttentionSpan; row r sees min(n_positions + r, kAttentionSpan)
  int64_t d_head = 0;
  int64_t n_queries = 0;            // query heads of this group
  const float* q = nullptr;         // [n_rows, n_queries, d_head]
  const int8_t* q8 = nullptr;       // [n_rows, n_queries, d_head]  KvFormat::q8 only, as quantise_activations makes it
  const float* q8_scale = nullptr;  // [n_rows, n_queries, d_head / 32]
  const std::byte* keys = nullptr;  // the span's first tile (kv_tile.h), with key_stride bytes from tile to tile
  const std::byte* values = nullptr;
  int64_t key_stride = 0, value_stride = 0;
  float scale = 1;
  float* sums = nullptr;     // [n_rows, n_queries, d_head] with sums_stride from row to row
  float* largest = nullptr;  // [n_rows, n_queries]
  float* total = nullptr;    // [n_rows, n_queries]
  int64_t sums_stride = 0;
};

using Attention = void (*)(const AttentionSpan& span) noexcept;

struct KernelTable {
  const char* name = "";  // "scalar", "avx2", "avxvnni", "avx512", "neon"

  Matmul matmul_exact[kFormatCount] = {};  // reads x.f32
  Matmul matmul_fast[kFormatCount] = {};   // reads x.q8, scale, sum; for float formats the same as matmul_exact

  // What interleaved matrices use (kernels/interleaving.h), of the formats that are faster so. interleave: a matrix
  // [rows, cols] in place, rows a multiple of kInterleavedRows and cols of 256, at most kMostInterleavedCols; scales
  // kept apart are rearranged by whoever calls it (memory/view.h).
  // matmul_interleaved: the same bits as matmul_fast, for ranges that begin at a multiple of kInterleavedRows.
  void (*interleave[kFormatCount])(std::byte* data, int64_t rows, int64_t cols) noexcept = {};
  Matmul matmul_interleaved[kFormatCount] = {};

  // x [n, cols] -> q8 [n, cols], scale and sum [n, cols / 32]; cols a multiple of 32. Scales are the smallest multiples
  // that hold the largest |x| of a block and their sum.
  void (*quantise_activations)(const float* x, int64_t n, int64_t cols, int8_t* q8, float* scale, float* sum) noexcept;

  // y[i] = x[i] * rsqrt(mean(x[i]^2) + eps) * w, over n rows of d; x and y may be the same.
  void (*rmsnorm)(const float* x, const float* w, int64_t n, int64_t d, float eps, float* y) noexcept;

  // y = silu(gate) * up, n values; y may be gate.
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y) noexcept;

  // y[i] += a * x[i], n values.
  void (*add_scaled)(const float* x, float a, int64_t n, float* y) noexcept;

  // Depthwise causal convolution of width 4, then SiLU, for channels [begin, end) of n tokens of one sequence.
  // x [n, channels], y [n, end - begin]; w [channels, 4], newest tap last; history [3, channels]: the inputs before x,
  // oldest first, replaced by the last three inputs.
  void (*conv4_silu)(const float* x, const float* w, int64_t n, int64_t channels, int64_t begin, int64_t end,
                     float* history, float* y) noexcept;

  // x [d] in place: x * rsqrt(sum(x^2) + eps) * scale, over n rows with stride.
  void (*l2norm)(float* x, int64_t n, int64_t d, int64_t stride, float scale, float eps) noexcept;

  // y[i] = rmsnorm(x[i], w) * silu(z[i]), over n rows of d with one stride for x, z, y; y may be x.
  void (*gated_rmsnorm)(const float* x, const float* z, const float* w, int64_t n, int64_t d, int64_t stride, float eps,
                        float* y) noexcept;

  // alpha = neg_a * log(1 + e^(alpha + dt_bias)), the log decay, and beta = sigmoid(beta), in place; all [n_heads].
  void (*delta_gates)(float* alpha, float* beta, const float* dt_bias, const float* neg_a, int64_t n_heads) noexcept;
  void (*delta_step)(const DeltaHead& head) noexcept;  // token by token, any n
  // A block of n <= kDeltaChunk tokens, of one head or more with the same q and k; in the scratch of the first.
  void (*delta_chunk)(const DeltaHead* heads, int64_t n_heads) noexcept;

  // Rotary embedding, half-split pairs (i, i + rotary_dims / 2), in place on [n_heads, d_head] with stride.
  // cos, sin [rotary_dims / 2] of this position.
  void (*rope)(float* x, int64_t n_heads, int64_t stride, int64_t rotary_dims, const float* cos,
               const float* sin) noexcept;

  Attention attention[kKvFormatCount] = {};  // by KvFormat
  // Adds the result of a later span to that of the spans before it, of the same rows: writes into.sums, largest, total.
  void (*attention_merge)(const AttentionSpan& into, const AttentionSpan& later) noexcept;
  // sums /= total.
  void (*attention_finish)(const AttentionSpan& span) noexcept;

  // x[i] *= sigmoid(gate[i]), n values.
  void (*sigmoid_mul)(const float* gate, int64_t n, float* x) noexcept;

  void (*f32_to_f16)(const float* x, int64_t n, uint16_t* y) noexcept;

  // p = softmax(logits [n]); the k largest, largest first, ties to the lower id; weights renormalised to sum 1.
  void (*route_topk)(const float* logits, int64_t n, int64_t k, int32_t* experts, float* weights) noexcept;

  // For measuring: multiply-adds of int8 values on registers alone, with the instructions that matmul_fast uses.
  // Returns how many that were, in proportion to n_rounds; their sum, modulo 2^32, goes to *sink.
  int64_t (*int8_peak)(int64_t n_rounds, int32_t* sink) noexcept;
};

// The entry for products with w: `exact` reads x.f32, which no interleaved matrix has an entry for.
Matmul matmul_for(const KernelTable& table, const MatrixView& w, bool exact);

// The best table this machine runs, or the one that is named; nothing if the machine cannot run it.
const KernelTable& best_kernels();
std::optional<const KernelTable*> kernels_by_name(std::string_view name);

}  // namespace flashmoe
