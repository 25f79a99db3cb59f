// Attention on vectors, with a running maximum, in blocks of positions counted from 0.
#pragma once

#include "kernels/cpu/vector/lanes.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kPositions = 64;  // of one block: its keys and values stay in L1 and L2 between the queries

// kQueries query heads at a time, which share every load of a key or value.
template <typename Stored, int kQueries>
struct AttentionGroup {
  const AttentionHead& head;
  const float* q;
  float* out;
  float largest[kQueries];
  float total[kQueries];
  float weights[kQueries][kPositions];

  // weights[.][p] = q . k of the block's positions, times scale.
  void score(const Stored* keys, int64_t n_positions) {
    for (int64_t p = 0; p < n_positions; ++p, keys += head.kv_stride) {
      Vec sums[kQueries];
      for (int h = 0; h < kQueries; ++h) sums[h] = zero();
      over_lanes(head.d_head, [&](int64_t j, auto lanes) {
        const Vec key = load(keys + j, lanes);
        for (int h = 0; h < kQueries; ++h) sums[h] = fma(load(q + h * head.q_stride + j, lanes), key, sums[h]);
      });
      for (int h = 0; h < kQueries; ++h) weights[h][p] = sum_lanes(sums[h]) * head.scale;
    }
  }

  // weights = exp(weights - largest); returns by how much what was summed before has to shrink.
  float exponentiate(int h, int64_t n_positions) {
    Vec block = broadcast(largest[h]);
    for (int64_t p = n_positions; p < kPositions; ++p) weights[h][p] = -__builtin_inff();
    for (int64_t p = 0; p < kPositions; p += kLanes) block = max(block, load(weights[h] + p));
    const float now = max_lane(block);
    const float shrink = largest[h] == -__builtin_inff() ? 0.0f : exp(largest[h] - now);
    Vec block_total = zero();
    for (int64_t p = 0; p < kPositions; p += kLanes) {
      const Vec weight = exp(load(weights[h] + p) - broadcast(now));
      store(weights[h] + p, weight);
      block_total = block_total + weight;
    }
    largest[h] = now;
    total[h] = total[h] * shrink + sum_lanes(block_total);
    return shrink;
  }

  void accumulate(const Stored* values, int64_t n_positions, const float shrink[kQueries]) {
    over_lanes(head.d_head, [&](int64_t j, auto lanes) {
      Vec sums[kQueries];
      for (int h = 0; h < kQueries; ++h) sums[h] = load(out + h * head.out_stride + j, lanes) * broadcast(shrink[h]);
      const Stored* value = values + j;
      for (int64_t p = 0; p < n_positions; ++p, value += head.kv_stride) {
        const Vec v = load(value, lanes);
        for (int h = 0; h < kQueries; ++h) sums[h] = fma(broadcast(weights[h][p]), v, sums[h]);
      }
      for (int h = 0; h < kQueries; ++h) store(out + h * head.out_stride + j, sums[h], lanes);
    });
  }

  void run() {
    for (int h = 0; h < kQueries; ++h) {
      largest[h] = -__builtin_inff();
      total[h] = 0;
      over_lanes(head.d_head, [&](int64_t j, auto lanes) { store(out + h * head.out_stride + j, zero(), lanes); });
    }
    for (int64_t first = 0; first < head.n_positions; first += kPositions) {
      const int64_t left = head.n_positions - first, n = left < kPositions ? left : kPositions;
      float shrink[kQueries];
      score(static_cast<const Stored*>(head.k) + first * head.kv_stride, n);
      for (int h = 0; h < kQueries; ++h) shrink[h] = exponentiate(h, n);
      accumulate(static_cast<const Stored*>(head.v) + first * head.kv_stride, n, shrink);
    }
    for (int h = 0; h < kQueries; ++h) {
      const Vec inverse = broadcast(1.0f / total[h]);
      float* to = out + h * head.out_stride;
      over_lanes(head.d_head, [&](int64_t j, auto lanes) { store(to + j, load(to + j, lanes) * inverse, lanes); });
    }
  }
};

template <typename Stored>
inline void attention(const AttentionHead& head) noexcept {
  int64_t h = 0;
  const auto run = [&](auto group) {
    group.q += h * head.q_stride;
    group.out += h * head.out_stride;
    group.run();
  };
  for (; h + 4 <= head.n_queries; h += 4) run(AttentionGroup<Stored, 4>{head, head.q, head.out, {}, {}, {}});
  for (; h < head.n_queries; ++h) run(AttentionGroup<Stored, 1>{head, head.q, head.out, {}, {}, {}});
}

inline void set_attention(KernelTable& table) {
  table.attention_f16 = attention<uint16_t>;
  table.attention_f32 = attention<float>;
}

}  // namespace flashmoe::FLASHMOE_ISA
