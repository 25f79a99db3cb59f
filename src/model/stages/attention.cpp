#include "model/stages/attention.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"
#include "model/sequence.h"
#include "model/stages/narrow.h"

namespace flashmoe {
namespace {

// Where the query heads of one row that share a key/value head lie, counted in heads.
int64_t first_query(const Step& step, int64_t row, int64_t kv_head) {
  const AttentionConfig& c = step.config.attention;
  return (kv_head * step.ws.n() + row) * (c.n_heads / c.n_kv_heads);
}

// Norms, rotates and separates one row: q_proj -> q.
void prepare_queries(Step& step, const AttentionWeights& w, const Run& run, int64_t row) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const int64_t half = c.rotary_dims / 2, group = c.n_heads / c.n_kv_heads;
  const float* cos = step.ws.rope_cos.data() + row * half;
  const float* sin = step.ws.rope_sin.data() + row * half;
  const float* q_proj = ws.q_proj.data() + row * c.n_heads * c.q_stride();
  for (int64_t kv_head = 0; kv_head < c.n_kv_heads; ++kv_head) {
    const int64_t query = first_query(step, row, kv_head), at = query * c.d_head;
    float* q = ws.q.f32.data() + at;
    for (int64_t i = 0; i < group; ++i) {
      const float* projected = q_proj + (kv_head * group + i) * c.q_stride();
      step.kernels.rmsnorm(projected, w.q_norm.data(), 1, c.d_head, step.config.norm_eps, q + i * c.d_head);
    }
    step.kernels.rope(q, group, c.d_head, c.rotary_dims, cos, sin);
    if (run.sequence->kv().format() != KvFormat::q8) continue;
    step.kernels.quantise_activations(q, 1, group * c.d_head, ws.q.q8.data() + at,
                                      ws.q.scale.data() + at / kActivationBlock,
                                      ws.q.sum.data() + at / kActivationBlock);
  }
}

// Norms and rotates the keys of one row; they and its values go to the cache.
void keep_keys(Step& step, const AttentionWeights& w, const Run& run, int64_t row) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const int64_t width = c.n_kv_heads * c.d_head, at = row * (c.rotary_dims / 2);
  float* k = ws.k.data() + row * width;
  step.kernels.rmsnorm(k, w.k_norm.data(), c.n_kv_heads, c.d_head, step.config.norm_eps, k);
  step.kernels.rope(k, c.n_kv_heads, c.d_head, c.rotary_dims, step.ws.rope_cos.data() + at,
                    step.ws.rope_sin.data() + at);
  run.sequence->kv().put(step.kernels, w.slot, run.first_position + row - run.first_row, k, ws.v.data() + row * width);
}

// The rows of all runs, shared out.
template <typename Work>
void for_rows(Step& step, const Work& work) {
  const AttentionConfig& c = step.config.attention;
  for (const Run& run : step.batch.runs) {
    step.pool.parallel_for(run.n_rows, grain_for(c.n_heads * c.d_head * 8), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(run, run.first_row + i);
    });
  }
}

// Makes the queries of all rows, keys and values with them. In the last layer only these are wanted of every row.
void project(Step& step, const AttentionWeights& w, bool last) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const int64_t width = c.n_kv_heads * c.d_head;
  const Activations h = step.ws.h.rows(0, step.n());
  MatmulTask queries = {w.q, h, ws.q_proj.data(), c.n_heads * c.q_stride()};
  const MatmulTask keys = {w.k, h, ws.k.data(), width}, values = {w.v, h, ws.v.data(), width};
  if (!last || !step.narrows()) {
    const MatmulTask all[] = {queries, keys, values};
    matmul(step, all);
    return for_rows(step, [&](const Run& run, int64_t row) {
      prepare_queries(step, w, run, row);
      keep_keys(step, w, run, row);
    });
  }
  const MatmulTask kept[] = {keys, values};
  matmul(step, kept);
  for_rows(step, [&](const Run& run, int64_t row) { keep_keys(step, w, run, row); });
  narrow(step);
  if (step.n() == 0) return;
  queries.x = step.ws.h.rows(0, step.n());
  matmul(step, {&queries, 1});
  for_rows(step, [&](const Run& run, int64_t row) { prepare_queries(step, w, run, row); });
}

// Rows [first, end) of a run and the query heads of one key/value head.
struct Rows {
  int64_t first, end, kv_head;
};

// Over the span-th span of their positions, of which each sees some, into the rows' own result.
AttentionSpan span_of(Step& step, const AttentionWeights& w, const Run& run, const Rows& rows, int64_t span) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const KvCache& kv = run.sequence->kv();
  const int64_t query = first_query(step, rows.first, rows.kv_head), first = span * kAttentionSpan;
  AttentionSpan s;
  s.n_rows = rows.end - rows.first;
  s.n_positions = std::min(kAttentionSpan, run.first_position + rows.first - run.first_row + 1 - first);
  s.d_head = c.d_head;
  s.n_queries = c.n_heads / c.n_kv_heads;
  s.q = ws.q.f32.data() + query * c.d_head;
  if (kv.format() == KvFormat::q8) {
    s.q8 = ws.q.q8.data() + query * c.d_head;
    s.q8_scale = ws.q.scale.data() + query * c.d_head / kActivationBlock;
  }
  s.keys = kv.keys_at(w.slot, first, rows.kv_head);
  s.values = kv.values_at(w.slot, first, rows.kv_head);
  s.key_stride = kv.key_stride();
  s.value_stride = kv.value_stride();
  s.scale = 1.0F / std::sqrt(static_cast<float>(c.d_head));
  s.sums = ws.out.f32.data() + rows.first * c.q_width() + rows.kv_head * s.n_queries * c.d_head;
  s.sums_stride = c.q_width();
  s.largest = ws.largest.data() + query;
  s.total = ws.total.data() + query;
  return s;
}

// The same with its result in a place of its own: spans after the first are merged from there.
AttentionSpan partial_of(Step& step, AttentionSpan s, int64_t partial, int64_t kv_head) {
  auto& ws = step.ws.attention;
  const int64_t at = (kv_head * ws.n_partials + partial) * s.n_queries;
  s.sums = ws.partial_sums.data() + at * s.d_head;
  s.sums_stride = s.n_queries * s.d_head;
  s.largest = ws.partial_largest.data() + at;
  s.total = ws.partial_total.data() + at;
  return s;
}

int64_t n_spans(const Run& run, int64_t row) {
  return (run.first_position + row - run.first_row + kAttentionSpan) / kAttentionSpan;
}

// Those of the rows that see positions of the span-th span.
Rows that_see(const Run& run, const Rows& rows, int64_t span) {
  const int64_t first = run.first_row + span * kAttentionSpan - run.first_position;
  return {std::max(rows.first, first), rows.end, rows.kv_head};
}

// Divides by the softmax's total and applies the gate if there is one.
void finish(Step& step, const AttentionSpan& s, const Rows& rows) {
  const AttentionConfig& c = step.config.attention;
  step.kernels.attention_finish(s);
  if (!c.output_gate) return;
  for (int64_t row = rows.first; row < rows.end; ++row) {
    for (int64_t i = 0; i < s.n_queries; ++i) {
      const int64_t head = row * c.n_heads + rows.kv_head * s.n_queries + i;
      step.kernels.sigmoid_mul(step.ws.attention.q_proj.data() + head * c.q_stride() + c.d_head, c.d_head,
                               s.sums + (row - rows.first) * s.sums_stride + i * c.d_head);
    }
  }
}

// Few rows: spans are shared out between the threads, then merged in order.
void attend_by_span(Step& step, const AttentionWeights& w, const Run& run) {
  const int64_t n_heads = step.config.attention.n_kv_heads, last = run.first_row + run.n_rows;
  const int64_t n = n_spans(run, last - 1), most = kSpansTogether / run.n_rows;
  const Attention attention = step.kernels.attention[static_cast<size_t>(run.sequence->kv().format())];
  const int64_t positions = std::min(kAttentionSpan, run.first_position + run.n_rows);
  const int64_t merge_cost = run.n_rows * step.config.attention.q_width() / n_heads;
  for (int64_t first = 0; first < n; first += most) {
    const int64_t together = std::min(most, n - first);
    const auto partial = [&](const AttentionSpan& s, int64_t span, int64_t head) {
      return partial_of(step, s, (span - first) * run.n_rows, head);
    };
    step.pool.parallel_for(together * n_heads, grain_for(positions * merge_cost * 2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t span = first + i / n_heads, head = i % n_heads;
        const AttentionSpan s = span_of(step, w, run, that_see(run, {run.first_row, last, head}, span), span);
        attention(span == 0 ? s : partial(s, span, head));
      }
    });
    step.pool.parallel_for(n_heads, grain_for(together * merge_cost), [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) {
        const Rows rows = {run.first_row, last, head};
        for (int64_t span = std::max<int64_t>(1, first); span < first + together; ++span) {
          const AttentionSpan whole = span_of(step, w, run, that_see(run, rows, span), 0);
          step.kernels.attention_merge(whole, partial(whole, span, head));
        }
        if (first + together == n) finish(step, span_of(step, w, run, rows, 0), rows);
      }
    });
  }
}

// Many rows: blocks of rows are shared out, and a block's rows go through a span together.
void attend_by_rows(Step& step, const AttentionWeights& w, const Run& run) {
  const int64_t n_heads = step.config.attention.n_kv_heads;
  const int64_t n_blocks = (run.n_rows + kAttentionRows - 1) / kAttentionRows;
  const Attention attention = step.kernels.attention[static_cast<size_t>(run.sequence->kv().format())];
  const auto attend_block = [&](int64_t block, int64_t head) {
    const int64_t first = run.first_row + block * kAttentionRows;
    const Rows rows = {first, std::min(first + kAttentionRows, run.first_row + run.n_rows), head};
    attention(span_of(step, w, run, rows, 0));
    for (int64_t span = 1; span < n_spans(run, rows.end - 1); ++span) {
      const Rows seeing = that_see(run, rows, span);
      const AttentionSpan partial = partial_of(step, span_of(step, w, run, seeing, span), block * kAttentionRows, head);
      attention(partial);
      step.kernels.attention_merge(span_of(step, w, run, seeing, 0), partial);
    }
    finish(step, span_of(step, w, run, rows, 0), rows);
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

void attention(Step& step, const AttentionWeights& w, bool last) {
  const Timed timed(step.profile, Stage::mix);
  auto& ws = step.ws.attention;
  project(step, w, last);
  if (step.n() == 0) return;
  for (const Run& run : step.batch.runs) {
    if (run.n_rows >= kAttentionRows) {
      attend_by_rows(step, w, run);
    } else {
      attend_by_span(step, w, run);
    }
  }
  quantise(step, ws.out, 0, step.n());
  const MatmulTask out[] = {{w.out, ws.out.rows(0, step.n()), ws.y.data(), step.config.d_model}};
  matmul(step, out);
  add_rows(step, ws.y.data(), step.n(), step.config.d_model, step.ws.x.data());
}

}  // namespace flashmoe
