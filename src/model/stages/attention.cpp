#include "model/stages/attention.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"
#include "model/sequence.h"

namespace flashmoe {
namespace {

// Norms, rotates and separates one row: q_proj -> q, k -> k, then k and v go to the cache.
void prepare_row(Step& step, const AttentionWeights& w, const Run& run, int64_t row) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const float eps = step.config.norm_eps;
  const int64_t width = c.n_kv_heads * c.d_head, half = c.rotary_dims / 2;
  float* q = ws.q.f32.data() + row * c.q_width();
  float* k = ws.k.data() + row * width;
  const float* q_proj = ws.q_proj.data() + row * c.n_heads * c.q_stride();
  for (int64_t head = 0; head < c.n_heads; ++head) {
    step.kernels.rmsnorm(q_proj + head * c.q_stride(), w.q_norm.data(), 1, c.d_head, eps, q + head * c.d_head);
  }
  step.kernels.rmsnorm(k, w.k_norm.data(), c.n_kv_heads, c.d_head, eps, k);
  const float* cos = step.ws.rope_cos.data() + row * half;
  const float* sin = step.ws.rope_sin.data() + row * half;
  step.kernels.rope(q, c.n_heads, c.d_head, c.rotary_dims, cos, sin);
  step.kernels.rope(k, c.n_kv_heads, c.d_head, c.rotary_dims, cos, sin);

  KvCache& kv = run.sequence->kv();
  kv.put(step.kernels, w.slot, run.first_position + row - run.first_row, k, ws.v.data() + row * width);
  if (kv.format() != KvFormat::q8) return;
  const int64_t blocks = c.q_width() / kActivationBlock;
  step.kernels.quantise_activations(q, 1, c.q_width(), ws.q.q8.data() + row * c.q_width(),
                                    ws.q.scale.data() + row * blocks, ws.q.sum.data() + row * blocks);
}

// The query heads of one key/value head of one row over the span-th span of its positions, into the row's own result.
AttentionSpan span_of(Step& step, const AttentionWeights& w, const Run& run, int64_t row, int64_t kv_head,
                      int64_t span) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const KvCache& kv = run.sequence->kv();
  const int64_t group = c.n_heads / c.n_kv_heads, head = row * c.n_heads + kv_head * group;
  const int64_t first = span * kAttentionSpan;
  AttentionSpan s;
  s.n_positions = std::min(kAttentionSpan, run.first_position + row - run.first_row + 1 - first);
  s.d_head = c.d_head;
  s.n_queries = group;
  s.q = ws.q.f32.data() + head * c.d_head;
  if (kv.format() == KvFormat::q8) {
    s.q8 = ws.q.q8.data() + head * c.d_head;
    s.q8_scale = ws.q.scale.data() + head * c.d_head / kActivationBlock;
  }
  s.keys = kv.keys_at(w.slot, first, kv_head);
  s.values = kv.values_at(w.slot, first, kv_head);
  s.key_stride = kv.key_stride();
  s.value_stride = kv.value_stride();
  s.scale = 1.0F / std::sqrt(static_cast<float>(c.d_head));
  s.sums = ws.out.f32.data() + head * c.d_head;
  s.largest = ws.largest.data() + head;
  s.total = ws.total.data() + head;
  return s;
}

// The same with its result in a place of its own: spans after the first are merged from there.
AttentionSpan partial_of(Step& step, AttentionSpan s, int64_t partial, int64_t kv_head) {
  auto& ws = step.ws.attention;
  const int64_t at = (partial * step.config.attention.n_kv_heads + kv_head) * s.n_queries;
  s.sums = ws.partial_sums.data() + at * s.d_head;
  s.largest = ws.partial_largest.data() + at;
  s.total = ws.partial_total.data() + at;
  return s;
}

int64_t n_spans(const Run& run, int64_t row) {
  return (run.first_position + row - run.first_row + kAttentionSpan) / kAttentionSpan;
}

// Divides by the softmax's total and applies the gate if there is one.
void finish(Step& step, const AttentionSpan& s, int64_t row, int64_t kv_head) {
  const AttentionConfig& c = step.config.attention;
  step.kernels.attention_finish(s);
  if (!c.output_gate) return;
  for (int64_t i = 0; i < s.n_queries; ++i) {
    const int64_t head = row * c.n_heads + kv_head * s.n_queries + i;
    step.kernels.sigmoid_mul(step.ws.attention.q_proj.data() + head * c.q_stride() + c.d_head, c.d_head,
                             s.sums + i * c.d_head);
  }
}

// Few rows: the spans of each are shared out between the threads, then merged in order.
void attend_by_span(Step& step, const AttentionWeights& w, const Run& run, int64_t row) {
  const int64_t n_heads = step.config.attention.n_kv_heads, n = n_spans(run, row);
  const Attention attention = step.kernels.attention[static_cast<size_t>(run.sequence->kv().format())];
  const int64_t cost = std::min(kAttentionSpan, run.first_position + run.n_rows) * step.config.attention.q_width() * 2;
  for (int64_t first = 0; first < n; first += kSpansTogether) {
    const int64_t together = std::min(kSpansTogether, n - first);
    step.pool.parallel_for(together * n_heads, grain_for(cost / n_heads), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t span = first + i / n_heads, head = i % n_heads;
        const AttentionSpan s = span_of(step, w, run, row, head, span);
        attention(span == 0 ? s : partial_of(step, s, span - first, head));
      }
    });
    const int64_t merge_cost = together * step.config.attention.q_width() / n_heads;
    step.pool.parallel_for(n_heads, grain_for(merge_cost), [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) {
        const AttentionSpan whole = span_of(step, w, run, row, head, 0);
        for (int64_t span = std::max<int64_t>(1, first); span < first + together; ++span) {
          step.kernels.attention_merge(whole, partial_of(step, whole, span - first, head));
        }
        if (first + together == n) finish(step, whole, row, head);
      }
    });
  }
}

// Many rows: blocks of rows are shared out, and a block's rows go through a span while it is in the cache.
void attend_by_rows(Step& step, const AttentionWeights& w, const Run& run) {
  const int64_t n_heads = step.config.attention.n_kv_heads;
  const int64_t n_blocks = (run.n_rows + kAttentionRows - 1) / kAttentionRows;
  const Attention attention = step.kernels.attention[static_cast<size_t>(run.sequence->kv().format())];
  const auto attend_block = [&](int64_t block, int64_t head) {
    const int64_t first = run.first_row + block * kAttentionRows;
    const int64_t end = std::min(first + kAttentionRows, run.first_row + run.n_rows);
    for (int64_t span = 0; span < n_spans(run, end - 1); ++span) {
      for (int64_t row = first; row < end; ++row) {
        if (span >= n_spans(run, row)) continue;
        const AttentionSpan s = span_of(step, w, run, row, head, span);
        if (span == 0) {
          attention(s);
          continue;
        }
        const AttentionSpan partial = partial_of(step, s, block, head);
        attention(partial);
        step.kernels.attention_merge(s, partial);
      }
    }
    for (int64_t row = first; row < end; ++row) finish(step, span_of(step, w, run, row, head, 0), row, head);
  };
  step.pool.parallel_for(n_blocks * n_heads, 1, [&](int64_t begin, int64_t end) {
    // The last rows see the most positions: the longest first.
    for (int64_t i = begin; i < end; ++i) attend_block(n_blocks - 1 - i / n_heads, i % n_heads);
  });
}

}  // namespace

void prepare_rope(Step& step) {
  const AttentionConfig& c = step.config.attention;
  const int64_t half = c.rotary_dims / 2;
  for (const Run& run : step.batch.runs) {
    for (int64_t i = 0; i < run.n_rows; ++i) {
      const auto position = static_cast<float>(run.first_position + i);
      const int64_t at = (run.first_row + i) * half;
      for (int64_t j = 0; j < half; ++j) {
        // The reference keeps frequency and angle in f32.
        const auto frequency = static_cast<float>(
            std::pow(c.rope_theta, -2.0 * static_cast<double>(j) / static_cast<double>(c.rotary_dims)));
        const double angle = static_cast<double>(position * frequency);
        step.ws.rope_cos[static_cast<size_t>(at + j)] = static_cast<float>(std::cos(angle));
        step.ws.rope_sin[static_cast<size_t>(at + j)] = static_cast<float>(std::sin(angle));
      }
    }
  }
}

void attention(Step& step, const AttentionWeights& w) {
  const Timed timed(step.profile, Stage::mix);
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const int64_t width = c.n_kv_heads * c.d_head;
  const Activations h = step.ws.h.rows(0, step.n());
  const MatmulTask projections[] = {
      {w.q, h, ws.q_proj.data(), c.n_heads * c.q_stride()}, {w.k, h, ws.k.data(), width}, {w.v, h, ws.v.data(), width}};
  matmul(step, projections);
  for (const Run& run : step.batch.runs) {
    step.pool.parallel_for(run.n_rows, grain_for(c.n_heads * c.d_head * 8), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) prepare_row(step, w, run, run.first_row + i);
    });
    if (run.n_rows >= kAttentionRows) {
      attend_by_rows(step, w, run);
    } else {
      for (int64_t i = 0; i < run.n_rows; ++i) attend_by_span(step, w, run, run.first_row + i);
    }
  }
  quantise(step, ws.out, 0, step.n());
  const MatmulTask out[] = {{w.out, ws.out.rows(0, step.n()), ws.y.data(), step.config.d_model}};
  matmul(step, out);
  add_rows(step, ws.y.data(), step.n(), step.config.d_model, step.ws.x.data());
}

}  // namespace flashmoe
