#include "model/stages/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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
  float* q = ws.q.data() + row * c.n_heads * c.d_head;
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

  const KvCache& kv = run.sequence->kv();
  const int64_t at = (run.first_position + row - run.first_row) * width;
  const float* v = ws.v.data() + row * width;
  if (kv.format() == KvFormat::f16) {
    step.kernels.f32_to_f16(k, width, reinterpret_cast<uint16_t*>(kv.keys(w.slot)) + at);
    step.kernels.f32_to_f16(v, width, reinterpret_cast<uint16_t*>(kv.values(w.slot)) + at);
  } else {
    std::memcpy(kv.keys(w.slot) + at * 4, k, static_cast<size_t>(width) * 4);
    std::memcpy(kv.values(w.slot) + at * 4, v, static_cast<size_t>(width) * 4);
  }
}

// All query heads of one key/value head of one row, the gate applied if there is one.
void attend(Step& step, const AttentionWeights& w, const Run& run, int64_t row, int64_t kv_head) {
  const AttentionConfig& c = step.config.attention;
  auto& ws = step.ws.attention;
  const KvCache& kv = run.sequence->kv();
  const int64_t group = c.n_heads / c.n_kv_heads, first_head = kv_head * group;
  AttentionHead head;
  head.n_positions = run.first_position + row - run.first_row + 1;
  head.d_head = c.d_head;
  head.n_queries = group;
  head.q = ws.q.data() + (row * c.n_heads + first_head) * c.d_head;
  head.k = kv.keys(w.slot) + kv_head * c.d_head * kv.value_bytes();
  head.v = kv.values(w.slot) + kv_head * c.d_head * kv.value_bytes();
  head.out = ws.out.f32.data() + (row * c.n_heads + first_head) * c.d_head;
  head.q_stride = head.out_stride = c.d_head;
  head.kv_stride = kv.width();
  head.scale = 1.0F / std::sqrt(static_cast<float>(c.d_head));
  (kv.format() == KvFormat::f16 ? step.kernels.attention_f16 : step.kernels.attention_f32)(head);
  if (!c.output_gate) return;
  for (int64_t i = first_head; i < first_head + group; ++i) {
    const int64_t at = row * c.n_heads + i;
    step.kernels.sigmoid_mul(ws.q_proj.data() + at * c.q_stride() + c.d_head, c.d_head,
                             ws.out.f32.data() + at * c.d_head);
  }
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
    const int64_t last_cost = (run.first_position + run.n_rows) * c.d_head * 2 * (c.n_heads / c.n_kv_heads);
    step.pool.parallel_for(run.n_rows * c.n_kv_heads, grain_for(last_cost), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) attend(step, w, run, run.first_row + i / c.n_kv_heads, i % c.n_kv_heads);
    });
  }
  quantise(step, ws.out, 0, step.n());
  const MatmulTask out[] = {{w.out, ws.out.rows(0, step.n()), ws.y.data(), step.config.d_model}};
  matmul(step, out);
  add_rows(step, ws.y.data(), step.n(), step.config.d_model, step.ws.x.data());
}

}  // namespace flashmoe
