#include "model/stages/delta_net.h"

#include <algorithm>
#include <cmath>

#include "model/matmul.h"
#include "model/sequence.h"

namespace flashmoe {
namespace {

constexpr float kL2Eps = 1e-6F;
constexpr int64_t kHeadsTogether = 4;  // of those that share a key head

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

// Rows of one piece after the convolution lie head by head, q and k of the key heads, then v: each
// [block_rows, width].
float* convolved(Step& step, int64_t first_channel) {
  return step.ws.delta.conv.data() + first_channel * step.ws.delta.block_rows;
}

void convolve(Step& step, const DeltaNetWeights& w, const Run& run, const DeltaPiece& piece, int64_t first_channel,
              int64_t n) {
  const int64_t channels = step.config.delta_net.conv_channels();
  step.kernels.conv4_silu(step.ws.delta.qkv.data() + piece.first_row * channels, w.conv.data(), piece.n_rows, channels,
                          first_channel, first_channel + n, run.sequence->delta().history(w.slot),
                          convolved(step, first_channel));
}

// What the value heads of a key head share: q and k convolved, q = l2norm(q) / sqrt(d_key), k = l2norm(k).
void prepare_key_head(Step& step, const DeltaNetWeights& w, const Run& run, const DeltaPiece& piece, int64_t key_head) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t q = key_head * c.d_key, k = q + c.key_width();
  convolve(step, w, run, piece, q, c.d_key);
  convolve(step, w, run, piece, k, c.d_key);
  const float q_scale = 1.0F / std::sqrt(static_cast<float>(c.d_key));
  step.kernels.l2norm(convolved(step, q), piece.n_rows, c.d_key, c.d_key, q_scale, kL2Eps);
  step.kernels.l2norm(convolved(step, k), piece.n_rows, c.d_key, c.d_key, 1.0F, kL2Eps);
}

DeltaHead head_rows(Step& step, const DeltaNetWeights& w, const Run& run, const DeltaPiece& piece, int64_t head) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t key_head = c.key_head_of(head), row = piece.first_row;
  DeltaHead rows;
  rows.n = piece.n_rows;
  rows.d_key = c.d_key;
  rows.d_value = c.d_value;
  rows.q = convolved(step, key_head * c.d_key);
  rows.k = convolved(step, c.key_width() + key_head * c.d_key);
  rows.v = convolved(step, 2 * c.key_width() + head * c.d_value);
  rows.log_decay = step.ws.delta.alpha.data() + row * c.n_value_heads + head;
  rows.beta = step.ws.delta.beta.data() + row * c.n_value_heads + head;
  rows.state = run.sequence->delta().state(w.slot) + head * c.d_key * c.d_value;
  rows.out = step.ws.delta.out.f32.data() + row * c.value_width() + head * c.d_value;
  rows.scratch = step.ws.delta.scratch.data() + head * delta_scratch_floats(c.d_key, c.d_value);
  rows.qk_stride = c.d_key;
  rows.v_stride = c.d_value;
  rows.gate_stride = c.n_value_heads;
  rows.out_stride = c.value_width();
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

std::span<const DeltaPiece> pieces_of(const Step& step, const Run& run) {
  const auto from = [&](int64_t row) {
    return std::lower_bound(step.pieces.begin(), step.pieces.end(), row,
                            [](const DeltaPiece& p, int64_t first_row) { return p.first_row < first_row; });
  };
  return {from(run.first_row), from(run.first_row + run.n_rows)};
}

// Value heads [first, last) of those of a key head. Blocks that lie in the step as a whole take the chunked form and
// all other tokens the recurrent one, so that a token's result does not depend on how prefill was cut into steps that
// end with blocks.
void run_value_heads(Step& step, const DeltaNetWeights& w, const Run& run, const DeltaPiece& piece, int64_t key_head,
                     int64_t first, int64_t last) {
  const DeltaNetConfig& c = step.config.delta_net;
  for (; first < last; first += kHeadsTogether) {
    DeltaHead heads[kHeadsTogether];
    const int64_t together = std::min(kHeadsTogether, last - first);
    for (int64_t i = 0; i < together; ++i) {
      const int64_t head = c.value_head_of(key_head, first + i);
      convolve(step, w, run, piece, 2 * c.key_width() + head * c.d_value, c.d_value);
      heads[i] = head_rows(step, w, run, piece, head);
    }
    if (piece.whole()) step.kernels.delta_chunk(heads, together);
    for (int64_t i = 0; i < together; ++i) {
      const DeltaHead& head = heads[i];
      if (!piece.whole()) step.kernels.delta_step(head);
      copy_state(run, head, piece.first_row + piece.n_rows - run.first_row);
      const float* z = step.ws.delta.z.data() + (head.out - step.ws.delta.out.f32.data());
      step.kernels.gated_rmsnorm(head.out, z, w.norm.data(), head.n, c.d_value, c.value_width(), step.config.norm_eps,
                                 head.out);
    }
  }
}

// All heads of a sequence: one loop over the key heads, each with its value heads, where that gives every thread enough
// of them; else for each piece the two kinds one after the other. Heads go from piece to piece so that what the
// convolution gives is still in L2 when the state passes over it.
void run_heads(Step& step, const DeltaNetWeights& w, const Run& run) {
  const DeltaNetConfig& c = step.config.delta_net;
  const int64_t key_cost = c.d_key * 32, value_cost = c.d_value * (2 * c.d_key + 16);
  const int64_t group = c.n_value_heads / c.n_key_heads;
  const std::span<const DeltaPiece> pieces = pieces_of(step, run);
  if (c.n_key_heads >= 4 * step.pool.size()) {
    const int64_t grain = grain_for(run.n_rows * (key_cost + group * value_cost));
    step.pool.parallel_for(c.n_key_heads, grain, [&](int64_t begin, int64_t end) {
      for (int64_t key_head = begin; key_head < end; ++key_head) {
        for (const DeltaPiece& piece : pieces) {
          prepare_key_head(step, w, run, piece, key_head);
          run_value_heads(step, w, run, piece, key_head, 0, group);
        }
      }
    });
    return;
  }
  for (const DeltaPiece& piece : pieces) {
    step.pool.parallel_for(c.n_key_heads, grain_for(piece.n_rows * key_cost), [&](int64_t begin, int64_t end) {
      for (int64_t key_head = begin; key_head < end; ++key_head) prepare_key_head(step, w, run, piece, key_head);
    });
    step.pool.parallel_for(c.n_value_heads, grain_for(piece.n_rows * value_cost), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        run_value_heads(step, w, run, piece, i / group, i % group, i % group + 1);
      }
    });
  }
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
