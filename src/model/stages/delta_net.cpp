#include "model/stages/delta_net.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"
#include "model/sequence.h"

namespace flashmoe {
namespace {

constexpr float kL2Eps = 1e-6F;

// alpha becomes the log decay -exp(A_log) softplus(a + dt_bias), beta becomes sigmoid(b); both [n, n_value_heads].
void gates(Step& step, const DeltaNetWeights& w) {
  const int64_t heads = step.config.delta_net.n_value_heads;
  step.pool.parallel_for(step.n(), grain_for(heads * 16), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * heads; i < end * heads; i += heads) {
      step.kernels.delta_gates(step.ws.delta.alpha.data() + i, step.ws.delta.beta.data() + i, w.dt_bias.data(),
                               w.neg_a.data(), heads);
    }
  });
}

void convolve(Step& step, const DeltaNetWeights& w, const Run& run, int64_t first_channel, int64_t n) {
  const int64_t channels = step.config.delta_net.conv_channels(), at = run.first_row * channels;
  step.kernels.conv4_silu(step.ws.delta.qkv.data() + at, w.conv.data(), run.n_rows, channels, first_channel,
                          first_channel + n, run.sequence->delta().history(w.slot), step.ws.delta.conv.data() + at);
}

// What the value heads of a key head share: q and k convolved, q = l2norm(q) / sqrt(d_key), k = l2norm(k).
void prepare_key_head(Step& step, const DeltaNetWeights& w, const Run& run, int64_t key_head) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t q = key_head * c.d_key, k = q + c.key_width();
  convolve(step, w, run, q, c.d_key);
  convolve(step, w, run, k, c.d_key);
  float* rows = step.ws.delta.conv.data() + run.first_row * c.conv_channels();
  const float q_scale = 1.0F / std::sqrt(static_cast<float>(c.d_key));
  step.kernels.l2norm(rows + q, run.n_rows, c.d_key, c.conv_channels(), q_scale, kL2Eps);
  step.kernels.l2norm(rows + k, run.n_rows, c.d_key, c.conv_channels(), 1.0F, kL2Eps);
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

// Copies a layer's history as it will be after each copy's rows. Before the run is convolved, which replaces it.
void copy_history(Step& step, const DeltaNetWeights& w, const Run& run) {
  const int64_t channels = step.config.delta_net.conv_channels();
  const DeltaState& delta = run.sequence->delta();
  const float* inputs = step.ws.delta.qkv.data() + run.first_row * channels;
  for (const StateCopy& copy : run.copies) {
    float* to = delta.same_place(delta.history(w.slot), copy.to);
    for (int64_t i = 0; i < kConvWidth - 1; ++i) {
      const int64_t row = copy.n_rows + i - (kConvWidth - 1);  // below 0: of what was before
      const float* from = row < 0 ? delta.history(w.slot) + (row + kConvWidth - 1) * channels : inputs + row * channels;
      std::copy(from, from + channels, to + i * channels);
    }
  }
}

void copy_state(const Run& run, const DeltaHead& rows, int64_t n_rows) {
  for (const StateCopy& copy : run.copies) {
    if (copy.n_rows != n_rows) continue;
    std::copy(rows.state, rows.state + rows.d_key * rows.d_value,
              run.sequence->delta().same_place(rows.state, copy.to));
  }
}

// Blocks that lie in the step as a whole take the chunked form and all other tokens the recurrent one, so that a
// token's result does not depend on how prefill was cut into steps that end with blocks.
void run_value_head(Step& step, const DeltaNetWeights& w, const Run& run, int64_t head) {
  const DeltaNetConfig& c = step.config.delta_net;
  convolve(step, w, run, 2 * c.key_width() + head * c.d_value, c.d_value);
  const DeltaHead all = head_rows(step, w, run, head);
  auto piece = std::lower_bound(step.pieces.begin(), step.pieces.end(), run.first_row,
                                [](const DeltaPiece& p, int64_t row) { return p.first_row < row; });
  for (int64_t done = 0; done < run.n_rows; ++piece) {
    const DeltaHead rows = skip_rows(all, done, piece->n_rows);
    if (piece->whole()) {
      step.kernels.delta_chunk(rows);
    } else {
      step.kernels.delta_step(rows);
    }
    done += piece->n_rows;
    copy_state(run, rows, done);
  }
  step.kernels.gated_rmsnorm(all.out, step.ws.delta.z.data() + run.first_row * c.value_width() + head * c.d_value,
                             w.norm.data(), run.n_rows, c.d_value, c.value_width(), step.config.norm_eps, all.out);
}

// All heads of a sequence: one loop over the key heads, each with its value heads, where that gives every thread enough
// of them; else the two kinds one after the other.
void run_heads(Step& step, const DeltaNetWeights& w, const Run& run) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t key_cost = run.n_rows * c.d_key * 32, value_cost = run.n_rows * c.d_value * (2 * c.d_key + 16);
  const int64_t group = c.n_value_heads / c.n_key_heads;
  if (c.n_key_heads >= 4 * step.pool.size()) {
    const int64_t grain = grain_for(key_cost + group * value_cost);
    step.pool.parallel_for(c.n_key_heads, grain, [&](int64_t begin, int64_t end) {
      for (int64_t key_head = begin; key_head < end; ++key_head) {
        prepare_key_head(step, w, run, key_head);
        for (int64_t i = 0; i < group; ++i) run_value_head(step, w, run, c.value_head_of(key_head, i));
      }
    });
    return;
  }
  step.pool.parallel_for(c.n_key_heads, grain_for(key_cost), [&](int64_t begin, int64_t end) {
    for (int64_t key_head = begin; key_head < end; ++key_head) prepare_key_head(step, w, run, key_head);
  });
  step.pool.parallel_for(c.n_value_heads, grain_for(value_cost), [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) run_value_head(step, w, run, head);
  });
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
  for (const Run& run : step.batch.runs) {
    copy_history(step, w, run);
    run_heads(step, w, run);
  }
  quantise(step, ws.out, 0, step.n());
  const MatmulTask out[] = {{w.out, ws.out.rows(0, step.n()), ws.y.data(), step.config.d_model}};
  matmul(step, out);
  add_rows(step, ws.y.data(), step.n(), step.config.d_model, step.ws.x.data());
}

}  // namespace flashmoe
