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

// body(column, lanes, width) over n columns: Width<kMost> vectors of All lanes while they last, then fewer.
template <int N>
struct Width {
  static constexpr int n = N;
};
template <int kMost = 4, typename Body>
inline void over_columns(int64_t n, Body body, int64_t c = 0) {
  for (; c + kMost * kLanes <= n; c += kMost * kLanes) body(c, All{}, Width<kMost>{});
  if constexpr (kMost > 1) {
    over_columns<kMost / 2>(n, body, c);
  } else if (c < n) {
    body(c, First{n - c}, Width<1>{});
  }
}

inline void delta_gates(float* alpha, float* beta, const float* dt_bias, const float* neg_a, int64_t n_heads) noexcept {
  over_lanes(n_heads, [&](int64_t h, auto lanes) {
    const Vec x = load(alpha + h, lanes) + load(dt_bias + h, lanes);
    store(alpha + h, load(neg_a + h, lanes) * softplus(x), lanes);
    store(beta + h, sigmoid(load(beta + h, lanes)), lanes);
  });
}

// Vectors of columns whose sums are live at once: with 32 registers of 16 lanes rows of 128 as a whole, one after the
// other.
inline constexpr int kStepWidth = kLanes == 16 ? 8 : 4;

// One token reads S once for S^T k and S^T q together, then writes it once while the columns are still near:
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
    over_columns<kStepWidth>(head.d_value, [&](int64_t c, auto lanes, auto width) {
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
  over_columns(p.width, [&](int64_t c, auto lanes, auto width) {
    constexpr int kWidth = decltype(width)::n, kTall = 2 * kGroup / kWidth;  // half of the registers hold sums
    int64_t i = 0;
    for (; i + kTall <= p.n_out; i += kTall) multiply_tile<kTall, kWidth>(p, i, c, lanes);
    for (; i < p.n_out; ++i) multiply_tile<1, kWidth>(p, i, c, lanes);
  });
}

// The parts of a DeltaHead's scratch, C = kDeltaChunk. Matrices [C, C] are lower triangles: of a row, whole vectors up
// to that with the diagonal.
struct DeltaScratch {
  float* keys;      // k^T [d_key, C]
  float* change;    // d [C, d_value]; S^T k until the row is solved
  float* key_dots;  // k_i . k_j [C, C], the same for all heads
  float* dots;      // q_i . k_j
  float* kk;        // e^(G_i - G_j) k_i . k_j [C, C]
  float* kq;        // e^(G_i - G_j) q_i . k_j
  float* log;       // G_i: the sum of log_decay up to and with i [C]
  float* decay;     // e^G_i [C]
  float* to_end;    // e^(G_n - G_i) [C]
  DeltaScratch(float* at, int64_t d_key, int64_t d_value)
      : keys(at),
        change(keys + kDeltaChunk * d_key),
        key_dots(change + kDeltaChunk * d_value),
        dots(key_dots + kDeltaChunk * kDeltaChunk),
        kk(dots + kDeltaChunk * kDeltaChunk),
        kq(kk + kDeltaChunk * kDeltaChunk),
        log(kq + kDeltaChunk * kDeltaChunk),
        decay(log + kDeltaChunk),
        to_end(decay + kDeltaChunk) {}
};

// What all heads share: keys transposed and the two triangles of products.
inline void multiply_keys(const DeltaHead& head, const DeltaScratch& s) {
  for (int64_t i = 0; i < head.d_key; ++i) {
    for (int64_t t = 0; t < kDeltaChunk; ++t) {
      s.keys[i * kDeltaChunk + t] = t < head.n ? head.k[t * head.qk_stride + i] : 0.0f;
    }
  }
  for (int64_t i = 0; i < head.n; i += kLanes) {
    const int64_t left = head.n - i, rows = left < kLanes ? left : kLanes;
    const float* k = head.k + i * head.qk_stride;
    Product p{k,           head.qk_stride, 1,          s.keys,    kDeltaChunk, s.key_dots + i * kDeltaChunk,
              kDeltaChunk, rows,           head.d_key, i + kLanes};
    multiply(p);
    p.a = head.q + i * head.qk_stride;
    p.out = s.dots + i * kDeltaChunk;
    multiply(p);
  }
}

// The decays of one head, and the triangles with them.
inline void decay_dots(const DeltaHead& head, const DeltaScratch& s) {
  float log = 0;
  for (int64_t t = 0; t < head.n; ++t) s.log[t] = log += head.log_decay[t * head.gate_stride];
  for (int64_t t = head.n; t < kDeltaChunk; ++t) s.log[t] = log;
  over_lanes(kDeltaChunk, [&](int64_t t, auto lanes) {
    const Vec of_row = load(s.log + t, lanes);
    store(s.decay + t, exp(of_row), lanes);
    store(s.to_end + t, exp(broadcast(log) - of_row), lanes);
  });
  for (int64_t i = 0; i < head.n; ++i) {
    const int64_t row = i * kDeltaChunk;
    for (int64_t j = 0; j <= i; j += kLanes) {  // beyond j = i the exponent may be positive: those are never read
      const Vec decay = exp(broadcast(s.log[i]) - load(s.log + j));
      store(s.kk + row + j, load(s.key_dots + row + j) * decay);
      store(s.kq + row + j, load(s.dots + row + j) * decay);
    }
  }
}

// Solves kTall rows of d from row i on, of kWidth vectors of columns; each row of d gives its row of the output.
template <int kTall, int kWidth, typename Lanes>
inline void solve_tile(const DeltaHead& head, const DeltaScratch& s, int64_t i, int64_t c, Lanes lanes) {
  const float* kk = s.kk + i * kDeltaChunk;
  const float* kq = s.kq + i * kDeltaChunk;
  float* change = s.change + c;
  float* out = head.out + i * head.out_stride + c;
  const float* v = head.v + i * head.v_stride + c;
  Vec remembered[kTall][kWidth], sums[kTall][kWidth];
  const auto add = [&](int r, int64_t t, const Vec d[kWidth]) {
    const Vec by_k = broadcast(kk[r * kDeltaChunk + t]), by_q = broadcast(kq[r * kDeltaChunk + t]);
    for (int j = 0; j < kWidth; ++j) {
      remembered[r][j] = fma(by_k, d[j], remembered[r][j]);
      sums[r][j] = fma(by_q, d[j], sums[r][j]);
    }
  };
  for (int r = 0; r < kTall; ++r) {
    const Vec decay = broadcast(s.decay[i + r]);
    for (int j = 0; j < kWidth; ++j) {
      remembered[r][j] = decay * load(change + (i + r) * head.d_value + j * kLanes, lanes);
      sums[r][j] = decay * load(out + r * head.out_stride + j * kLanes, lanes);
    }
  }
  Vec d[kWidth];
  for (int64_t t = 0; t < i; ++t) {
    for (int j = 0; j < kWidth; ++j) d[j] = load(change + t * head.d_value + j * kLanes, lanes);
    for (int r = 0; r < kTall; ++r) add(r, t, d);
  }
  for (int r = 0; r < kTall; ++r) {
    const Vec beta = broadcast(head.beta[(i + r) * head.gate_stride]);
    const Vec own = broadcast(kq[r * kDeltaChunk + i + r]);
    for (int j = 0; j < kWidth; ++j) {
      d[j] = beta * (load(v + r * head.v_stride + j * kLanes, lanes) - remembered[r][j]);
      store(change + (i + r) * head.d_value + j * kLanes, d[j], lanes);
      store(out + r * head.out_stride + j * kLanes, fma(own, d[j], sums[r][j]), lanes);
    }
    for (int later = r + 1; later < kTall; ++later) add(later, i + r, d);
  }
}

inline void solve(const DeltaHead& head, const DeltaScratch& s) {
  constexpr int kTall = kGroup / 2;  // times two vectors of two kinds
  over_columns<2>(head.d_value, [&](int64_t c, auto lanes, auto width) {
    constexpr int kWidth = decltype(width)::n;
    int64_t i = 0;
    for (; i + kTall <= head.n; i += kTall) solve_tile<kTall, kWidth>(head, s, i, c, lanes);
    for (; i < head.n; ++i) solve_tile<1, kWidth>(head, s, i, c, lanes);
  });
}

// With G_i the sum of log_decay up to i and S the state before the chunk:
//   d_i = beta_i (v_i - e^{G_i} S^T k_i - sum_{j<i} e^{G_i - G_j} (k_i . k_j) d_j)
//   o_i = e^{G_i} S^T q_i + sum_{j<=i} e^{G_i - G_j} (q_i . k_j) d_j
//   S'  = e^{G_n} S + sum_j e^{G_n - G_j} k_j d_j^T
inline void run_chunk(const DeltaHead& head, const DeltaScratch& s) {
  decay_dots(head, s);
  Product p{head.k,   head.qk_stride, 1,      head.state, head.d_value,
            s.change, head.d_value,   head.n, head.d_key, head.d_value};
  multiply(p);
  p.a = head.q;
  p.out = head.out;
  p.out_stride = head.out_stride;
  multiply(p);
  solve(head, s);
  for (int64_t t = 0; t < head.n; ++t) {
    const Vec decay = broadcast(s.to_end[t]);
    float* change = s.change + t * head.d_value;
    over_lanes(head.d_value, [&](int64_t c, auto lanes) { store(change + c, load(change + c, lanes) * decay, lanes); });
  }
  multiply({head.k, 1, head.qk_stride, s.change, head.d_value, head.state, head.d_value, head.d_key, head.n,
            head.d_value, s.decay[head.n - 1]});
}

inline void delta_chunk(const DeltaHead* heads, int64_t n_heads) noexcept {
  if (heads[0].n == 0) return;
  const DeltaScratch s(heads[0].scratch, heads[0].d_key, heads[0].d_value);
  multiply_keys(heads[0], s);
  for (int64_t h = 0; h < n_heads; ++h) run_chunk(heads[h], s);
}

inline void set_delta(KernelTable& table) {
  table.delta_gates = delta_gates;
  table.delta_step = delta_step;
  table.delta_chunk = delta_chunk;
}

}  // namespace flashmoe::FLASHMOE_ISA
