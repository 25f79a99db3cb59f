// The gated delta rule on vectors: lanes run along d_value, whose columns of S do not see each other.
#pragma once

#include "kernels/cpu/vector/lanes.h"

namespace flashmoe::FLASHMOE_ISA {

inline float dot(const float* a, const float* b, int64_t n) {
  Vec sums[2] = {zero(), zero()};
  over_lanes(n, [&](int64_t i, auto lanes) {
    sums[i / kLanes % 2] = fma(load(a + i, lanes), load(b + i, lanes), sums[i / kLanes % 2]);
  });
  return sum_lanes(sums[0] + sums[1]);
}

// body(column, lanes, width) over n columns: Width<4> vectors of All lanes while they last, then Width<1>.
template <int N>
struct Width {
  static constexpr int n = N;
};
template <typename Body>
inline void over_columns(int64_t n, Body body) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= n; c += 4 * kLanes) body(c, All{}, Width<4>{});
  for (; c + kLanes <= n; c += kLanes) body(c, All{}, Width<1>{});
  if (c < n) body(c, First{n - c}, Width<1>{});
}

inline void delta_gates(float* alpha, float* beta, const float* dt_bias, const float* neg_a, int64_t n_heads) noexcept {
  over_lanes(n_heads, [&](int64_t h, auto lanes) {
    const Vec x = load(alpha + h, lanes) + load(dt_bias + h, lanes);
    store(alpha + h, load(neg_a + h, lanes) * softplus(x), lanes);
    store(beta + h, sigmoid(load(beta + h, lanes)), lanes);
  });
}

// One token reads S once for S^T k and S^T q together, then writes it once while the columns are still in L1:
// with S' = g S + k d^T, S'^T q = g S^T q + (k . q) d.
inline void delta_step(const DeltaHead& head) noexcept {
  for (int64_t t = 0; t < head.n; ++t) {
    const float* q = head.q + t * head.qk_stride;
    const float* k = head.k + t * head.qk_stride;
    const float* v = head.v + t * head.v_stride;
    float* out = head.out + t * head.out_stride;
    const Vec decay = broadcast(exp(head.log_decay[t * head.gate_stride]));
    const Vec beta = broadcast(head.beta[t * head.gate_stride]);
    const Vec kq = broadcast(dot(k, q, head.d_key));
    over_columns(head.d_value, [&](int64_t c, auto lanes, auto width) {
      constexpr int kWidth = decltype(width)::n;
      Vec by_k[kWidth], by_q[kWidth], change[kWidth];
      for (int j = 0; j < kWidth; ++j) by_k[j] = by_q[j] = zero();
      float* row = head.state + c;
      for (int64_t i = 0; i < head.d_key; ++i, row += head.d_value) {
        const Vec key = broadcast(k[i]), query = broadcast(q[i]);
        for (int j = 0; j < kWidth; ++j) {
          const Vec s = load(row + j * kLanes, lanes);
          by_k[j] = fma(s, key, by_k[j]);
          by_q[j] = fma(s, query, by_q[j]);
        }
      }
      for (int j = 0; j < kWidth; ++j) {
        change[j] = (load(v + c + j * kLanes, lanes) - decay * by_k[j]) * beta;
        store(out + c + j * kLanes, fma(kq, change[j], decay * by_q[j]), lanes);
      }
      row = head.state + c;
      for (int64_t i = 0; i < head.d_key; ++i, row += head.d_value) {
        const Vec key = broadcast(k[i]);
        for (int j = 0; j < kWidth; ++j) {
          store(row + j * kLanes, fma(key, change[j], decay * load(row + j * kLanes, lanes)), lanes);
        }
      }
    });
  }
}

// out[i, c] = start * out[i, c] + sum_j a[i, j] b[j, c], j ascending, for i < n_out, j < n_sum; out starts at 0 where
// `start` is 0 (whatever it holds).
struct Product {
  const float* a;  // element (i, j) at a[i * a_row + j * a_column]
  int64_t a_row, a_column;
  const float* b;
  int64_t b_stride;
  float* out;
  int64_t out_stride;
  int64_t n_out, n_sum, width;
  float start = 0;
};

template <int kTall, int kWidth, typename Lanes>
inline void multiply_tile(const Product& p, int64_t i, int64_t c, Lanes lanes) {
  Vec sums[kTall][kWidth];
  for (int r = 0; r < kTall; ++r) {
    for (int j = 0; j < kWidth; ++j) {
      const float* from = p.out + (i + r) * p.out_stride + c + j * kLanes;
      sums[r][j] = p.start == 0 ? zero() : broadcast(p.start) * load(from, lanes);
    }
  }
  for (int64_t s = 0; s < p.n_sum; ++s) {
    Vec row[kWidth];
    for (int j = 0; j < kWidth; ++j) row[j] = load(p.b + s * p.b_stride + c + j * kLanes, lanes);
    for (int r = 0; r < kTall; ++r) {
      const Vec factor = broadcast(p.a[(i + r) * p.a_row + s * p.a_column]);
      for (int j = 0; j < kWidth; ++j) sums[r][j] = fma(factor, row[j], sums[r][j]);
    }
  }
  for (int r = 0; r < kTall; ++r) {
    for (int j = 0; j < kWidth; ++j) store(p.out + (i + r) * p.out_stride + c + j * kLanes, sums[r][j], lanes);
  }
}

inline void multiply(const Product& p) {
  constexpr int kTall = kGroup / 2;  // times 4 vectors: half of the registers hold sums
  over_columns(p.width, [&](int64_t c, auto lanes, auto width) {
    constexpr int kWidth = decltype(width)::n;
    int64_t i = 0;
    for (; i + kTall <= p.n_out; i += kTall) multiply_tile<kTall, kWidth>(p, i, c, lanes);
    for (; i < p.n_out; ++i) multiply_tile<1, kWidth>(p, i, c, lanes);
  });
}

// The parts of a DeltaHead's scratch, C = kDeltaChunk.
struct DeltaScratch {
  float* keys;    // k^T [d_key, C]
  float* change;  // d [C, d_value]; S^T k until the row is solved
  float* kk;      // k_i . k_j, then exp(G_i - G_j) k_i . k_j [C, C], j <= i
  float* kq;      // the same for q_i . k_j
  float* log;     // G_i: the sum of log_decay up to and with i [C]
  DeltaScratch(float* at, int64_t d_key, int64_t d_value)
      : keys(at),
        change(keys + kDeltaChunk * d_key),
        kk(change + kDeltaChunk * d_value),
        kq(kk + kDeltaChunk * kDeltaChunk),
        log(kq + kDeltaChunk * kDeltaChunk) {}
};

// Keys transposed, decays summed, and the two triangles of key products with their decays.
inline void prepare_chunk(const DeltaHead& head, const DeltaScratch& s) {
  for (int64_t i = 0; i < head.d_key; ++i) {
    for (int64_t t = 0; t < kDeltaChunk; ++t) {
      s.keys[i * kDeltaChunk + t] = t < head.n ? head.k[t * head.qk_stride + i] : 0.0f;
    }
  }
  float log = 0;
  for (int64_t t = 0; t < head.n; ++t) s.log[t] = log += head.log_decay[t * head.gate_stride];
  for (int64_t t = head.n; t < kDeltaChunk; ++t) s.log[t] = log;

  Product p{head.k, head.qk_stride, 1, s.keys, kDeltaChunk, s.kk, kDeltaChunk, head.n, head.d_key, kDeltaChunk};
  multiply(p);
  p.a = head.q;
  p.out = s.kq;
  multiply(p);
  for (int64_t i = 0; i < head.n; ++i) {
    for (int64_t j = 0; j <= i; j += kLanes) {  // beyond j = i the exponent may be positive: those are never read
      const Vec decay = exp(broadcast(s.log[i]) - load(s.log + j));
      store(s.kk + i * kDeltaChunk + j, load(s.kk + i * kDeltaChunk + j) * decay);
      store(s.kq + i * kDeltaChunk + j, load(s.kq + i * kDeltaChunk + j) * decay);
    }
  }
}

// Solves d row by row; each row of d gives its row of the output.
inline void solve_chunk(const DeltaHead& head, const DeltaScratch& s) {
  for (int64_t i = 0; i < head.n; ++i) {
    const Vec decay = broadcast(exp(s.log[i])), beta = broadcast(head.beta[i * head.gate_stride]);
    const float* kk = s.kk + i * kDeltaChunk;
    const float* kq = s.kq + i * kDeltaChunk;
    float* change = s.change + i * head.d_value;
    float* out = head.out + i * head.out_stride;
    const float* v = head.v + i * head.v_stride;
    over_columns(head.d_value, [&](int64_t c, auto lanes, auto width) {
      constexpr int kWidth = decltype(width)::n;
      Vec remembered[kWidth], sums[kWidth];
      for (int j = 0; j < kWidth; ++j) {
        remembered[j] = decay * load(change + c + j * kLanes, lanes);
        sums[j] = decay * load(out + c + j * kLanes, lanes);
      }
      const float* earlier = s.change + c;
      for (int64_t t = 0; t < i; ++t, earlier += head.d_value) {
        const Vec by_k = broadcast(kk[t]), by_q = broadcast(kq[t]);
        for (int j = 0; j < kWidth; ++j) {
          const Vec d = load(earlier + j * kLanes, lanes);
          remembered[j] = fma(by_k, d, remembered[j]);
          sums[j] = fma(by_q, d, sums[j]);
        }
      }
      for (int j = 0; j < kWidth; ++j) {
        const Vec d = beta * (load(v + c + j * kLanes, lanes) - remembered[j]);
        store(change + c + j * kLanes, d, lanes);
        store(out + c + j * kLanes, fma(broadcast(kq[i]), d, sums[j]), lanes);
      }
    });
  }
}

// With G_i the sum of log_decay up to i and S the state before the chunk:
//   d_i = beta_i (v_i - e^{G_i} S^T k_i - sum_{j<i} e^{G_i - G_j} (k_i . k_j) d_j)
//   o_i = e^{G_i} S^T q_i + sum_{j<=i} e^{G_i - G_j} (q_i . k_j) d_j
//   S'  = e^{G_n} S + sum_j e^{G_n - G_j} k_j d_j^T
inline void delta_chunk(const DeltaHead& head) noexcept {
  if (head.n == 0) return;
  const DeltaScratch s(head.scratch, head.d_key, head.d_value);
  prepare_chunk(head, s);
  Product p{head.k,   head.qk_stride, 1,      head.state, head.d_value,
            s.change, head.d_value,   head.n, head.d_key, head.d_value};
  multiply(p);
  p.a = head.q;
  p.out = head.out;
  p.out_stride = head.out_stride;
  multiply(p);
  solve_chunk(head, s);

  const float total = s.log[head.n - 1];
  for (int64_t t = 0; t < head.n; ++t) {
    const Vec decay = broadcast(exp(total - s.log[t]));
    float* change = s.change + t * head.d_value;
    over_lanes(head.d_value, [&](int64_t c, auto lanes) { store(change + c, load(change + c, lanes) * decay, lanes); });
  }
  const float start = exp(total);
  Product update{s.keys,       kDeltaChunk, 1,      s.change,     head.d_value, head.state,
                 head.d_value, head.d_key,  head.n, head.d_value, start};
  multiply(update);
}

inline void set_delta(KernelTable& table) {
  table.delta_gates = delta_gates;
  table.delta_step = delta_step;
  table.delta_chunk = delta_chunk;
}

}  // namespace flashmoe::FLASHMOE_ISA
