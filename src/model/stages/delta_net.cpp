#include "model/stages/delta_net.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"
#include "model/sequence.h"

namespace flashmoe {
namespace {

constexpr float kL2Eps = 1e-6F;
constexpr float kSoftplusLinear = 20.0F;  // beyond this softplus(x) is x in f32

float softplus(float x) { return x > kSoftplusLinear ? x : std::log1p(std::exp(x)); }

// alpha becomes the log decay -exp(A_log) softplus(a + dt_bias), beta becomes sigmoid(b); both [n, n_value_heads].
void gates(Step& step, const DeltaNetWeights& w) {
  const int64_t heads = step.config.delta_net.n_value_heads;
  step.pool.parallel_for(step.n(), grain_for(heads * 64), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* alpha = step.ws.delta.alpha.data() + i * heads;
      float* beta = step.ws.delta.beta.data() + i * heads;
      for (int64_t j = 0; j < heads; ++j) {
        const auto head = static_cast<size_t>(j);
        alpha[j] = w.neg_a[head] * softplus(alpha[j] + w.dt_bias[head]);
        beta[j] = 1.0F / (1.0F + std::exp(-beta[j]));
      }
    }
  });
}

void convolve(Step& step, const DeltaNetWeights& w) {
  const int64_t channels = step.config.delta_net.conv_channels();
  for (const Run& run : step.batch.runs) {
    const int64_t at = run.first_row * channels;
    step.pool.parallel_for(channels, std::max<int64_t>(64, grain_for(run.n_rows * 4)), [&](int64_t begin, int64_t end) {
      step.kernels.conv4_silu(step.ws.delta.qkv.data() + at, w.conv.data(), run.n_rows, channels, begin, end,
                              run.sequence->delta().history(w.slot), step.ws.delta.conv.data() + at);
    });
  }
}

// q = l2norm(q) / sqrt(d_key), k = l2norm(k), in place per row and key head.
void normalise_keys(Step& step) {
  const DeltaNetConfig& c = step.config.delta_net;
  const float q_scale = 1.0F / std::sqrt(static_cast<float>(c.d_key));
  step.pool.parallel_for(step.n(), grain_for(4 * c.key_width()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = step.ws.delta.conv.data() + i * c.conv_channels();
      step.kernels.l2norm(row, c.n_key_heads, c.d_key, c.d_key, q_scale, kL2Eps);
      step.kernels.l2norm(row + c.key_width(), c.n_key_heads, c.d_key, c.d_key, 1.0F, kL2Eps);
    }
  });
}

DeltaHead head_rows(Step& step, const DeltaNetWeights& w, const Run& run, int64_t head) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t key_head = c.key_head_of(head), row = run.first_row;
  const float* qkv = step.ws.delta.conv.data() + row * c.conv_channels();
  DeltaHead rows;
  rows.d_key = c.d_key;
  rows.d_value = c.d_value;
  rows.q = qkv + key_head * c.d_key;
  rows.k = qkv + c.key_width() + key_head * c.d_key;
  rows.v = qkv + 2 * c.key_width() + head * c.d_value;
  rows.log_decay = step.ws.delta.alpha.data() + row * c.n_value_heads + head;
  rows.beta = step.ws.delta.beta.data() + row * c.n_value_heads + head;
  rows.state = run.sequence->delta().state(w.slot) + head * c.d_key * c.d_value;
  rows.out = step.ws.delta.out.f32.data() + row * c.value_width() + head * c.d_value;
  rows.scratch = step.ws.delta.scratch.data() + head * delta_scratch_floats(c.d_key, c.d_value);
  rows.qk_stride = rows.v_stride = c.conv_channels();
  rows.gate_stride = c.n_value_heads;
  rows.out_stride = c.value_width();
  return rows;
}

DeltaHead skip_rows(DeltaHead rows, int64_t skip, int64_t n) {
  rows.n = n;
  rows.q += skip * rows.qk_stride;
  rows.k += skip * rows.qk_stride;
  rows.v += skip * rows.v_stride;
  rows.log_decay += skip * rows.gate_stride;
  rows.beta += skip * rows.gate_stride;
  rows.out += skip * rows.out_stride;
  return rows;
}

// Whole blocks of kDeltaChunk, counted from position 0 of the sequence, take the chunked form and all other tokens the
// recurrent one, so that a token's result does not depend on how prefill was cut into chunks of whole blocks.
void run_head(Step& step, const DeltaNetWeights& w, const Run& run, int64_t head) {
  const DeltaHead all = head_rows(step, w, run, head);
  for (int64_t done = 0; done < run.n_rows;) {
    const int64_t position = run.first_position + done;
    const int64_t n = std::min(run.n_rows - done, kDeltaChunk - position % kDeltaChunk);
    const DeltaHead rows = skip_rows(all, done, n);
    if (n == kDeltaChunk) {
      step.kernels.delta_chunk(rows);
    } else {
      step.kernels.delta_step(rows);
    }
    done += n;
  }
  const DeltaNetConfig& c = step.config.delta_net;
  step.kernels.gated_rmsnorm(all.out, step.ws.delta.z.data() + run.first_row * c.value_width() + head * c.d_value,
                             w.norm.data(), run.n_rows, c.d_value, c.value_width(), step.config.norm_eps, all.out);
}

}  // namespace

void delta_net(Step& step, const DeltaNetWeights& w) {
  const Timed timed(step.profile, Stage::mix);
  const DeltaNetConfig& c = step.config.delta_net;
  auto& ws = step.ws.delta;
  const Activations h = step.ws.h.rows(0, step.n());
  const MatmulTask projections[] = {{w.qkv, h, ws.qkv.data(), c.conv_channels()},
                                    {w.z, h, ws.z.data(), c.value_width()},
                                    {w.beta, h, ws.beta.data(), c.n_value_heads},
                                    {w.alpha, h, ws.alpha.data(), c.n_value_heads}};
  matmul(step, projections);
  gates(step, w);
  convolve(step, w);
  normalise_keys(step);
  for (const Run& run : step.batch.runs) {
    const int64_t head_cost = run.n_rows * c.d_key * c.d_value * 2;
    step.pool.parallel_for(c.n_value_heads, grain_for(head_cost), [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) run_head(step, w, run, head);
    });
  }
  quantise(step, ws.out, 0, step.n());
  const MatmulTask out[] = {{w.out, ws.out.rows(0, step.n()), ws.y.data(), step.config.d_model}};
  matmul(step, out);
  add_rows(step, ws.y.data(), step.n(), step.config.d_model, step.ws.x.data());
}

}  // namespace flashmoe
