// Attention on vectors, with a running maximum, in blocks of positions counted from the span's first. Contract:
// kernels.h; how keys and values lie: kv_tile.h. Included after an ints.h, which names the instruction set.
//
// Lanes run along positions for the scores and along dimensions for the sums; a group of queries, of one row or of
// several, shares every load of a key or value. Queries are counted through the rows, [n_rows, n_queries]. A query
// meets the operations that it would meet alone: of what others of its group see and it does not, nothing reaches its
// sums.
#pragma once

#include "kernels/cpu/vector/lanes.h"

namespace flashmoe::FLASHMOE_ISA {

inline constexpr int64_t kPositions = 128;  // of one block: its keys and values stay in L1 and L2 between the queries
inline constexpr int64_t kTile = 16;        // kKvTile
inline constexpr int kTwo = 2;              // vectors worked on together: with kGroup queries, half of the registers

// Asks for what lies where the present key or value does, a block of positions further on, into L2. A block's values
// are passed row by row in narrow strips, which no hardware prefetcher follows; and requests for a whole block at once
// would wait for each other.
inline void ask_for_next_block(const void* at, int64_t stride) {
  __builtin_prefetch(static_cast<const std::byte*>(at) + kPositions / kTile * stride, 0, 2);
}

// How many of a block's positions each query of a group sees: 0 where its span has ended before.
template <int kQueries>
struct Block {
  int64_t n[kQueries];
  int64_t least, most;
};

// [d_head] of one query.
inline float* sums_of(const AttentionSpan& span, int64_t query) {
  return span.sums + query / span.n_queries * span.sums_stride + query % span.n_queries * span.d_head;
}

// A span's keys and values in f16 or f32.
template <typename Stored>
struct FloatCache {
  template <int kQueries>
  struct State {};

  template <int kQueries>
  static void start(const AttentionSpan&, int64_t, State<kQueries>&) {}

  // sums = q . k of kTwo vectors of positions from `first` on.
  template <int kQueries>
  static void score(const AttentionSpan& span, int64_t query, int64_t first, const State<kQueries>&,
                    Vec sums[kQueries][kTwo]) {
    const Stored* keys[kTwo];
    for (int v = 0; v < kTwo; ++v) {
      const int64_t p = first + v * kLanes;
      keys[v] = reinterpret_cast<const Stored*>(span.keys + p / kTile * span.key_stride) + p % kTile;
    }
    const float* q = span.q + query * span.d_head;
    for (int64_t j = 0; j < span.d_head; ++j) {
      Vec key[kTwo];
      for (int v = 0; v < kTwo; ++v) {
        key[v] = load(keys[v] + j * kTile);
        ask_for_next_block(keys[v] + j * kTile, span.key_stride);
      }
      for (int h = 0; h < kQueries; ++h) {
        const Vec factor = broadcast(q[h * span.d_head + j]);
        for (int v = 0; v < kTwo; ++v) sums[h][v] = fma(factor, key[v], sums[h][v]);
      }
    }
  }

  template <int kQueries>
  static void weigh(const AttentionSpan&, int64_t, const Block<kQueries>&, const float[kQueries][kPositions],
                    State<kQueries>&) {}

  // sums += weights v, over the block's positions from `first` on, of kWidth vectors of dimensions from c on.
  template <int kQueries, int kWidth, typename Lanes>
  static void accumulate(const AttentionSpan& span, int64_t first, const Block<kQueries>& block, int64_t c, Lanes lanes,
                         const float weights[kQueries][kPositions], const State<kQueries>&,
                         Vec sums[kQueries][kWidth]) {
    const auto value_at = [&](int64_t p, Vec values[kWidth]) {
      const int64_t at = first + p;
      const auto* value =
          reinterpret_cast<const Stored*>(span.values + at / kTile * span.value_stride) + at % kTile * span.d_head + c;
      ask_for_next_block(value, span.value_stride);
      for (int v = 0; v < kWidth; ++v) values[v] = load(value + v * kLanes, lanes);
    };
    Vec values[kWidth];
    for (int64_t p = 0; p < block.least; ++p) {
      value_at(p, values);
      for (int h = 0; h < kQueries; ++h) {
        const Vec weight = broadcast(weights[h][p]);
        for (int v = 0; v < kWidth; ++v) sums[h][v] = fma(weight, values[v], sums[h][v]);
      }
    }
    // A weight of 0 would not do for who does not see the position: its value may be infinite.
    for (int64_t p = block.least; p < block.most; ++p) {
      value_at(p, values);
      for (int h = 0; h < kQueries; ++h) {
        if (p >= block.n[h]) continue;
        const Vec weight = broadcast(weights[h][p]);
        for (int v = 0; v < kWidth; ++v) sums[h][v] = fma(weight, values[v], sums[h][v]);
      }
    }
  }
};

// In int8: scores from int8 queries; weights times the values' scales become 15-bit integers of the block's largest,
// so that both products run on integers.
struct Int8Cache {
  static constexpr int64_t kScaleDims = 32, kMostBlocks = 32;
  static constexpr float kLargestWeight = 32767.0f;

  template <int kQueries>
  struct State {
    int32_t q_sums[kQueries][kMostBlocks];  // of 32 dimensions each
    int16_t weights[kQueries][kPositions];
    float unit[kQueries];  // what weights are counted in
  };

  template <int kQueries>
  static void start(const AttentionSpan& span, int64_t query, State<kQueries>& state) {
    for (int h = 0; h < kQueries; ++h) {
      const int8_t* q = span.q8 + (query + h) * span.d_head;
      for (int64_t b = 0; b < span.d_head / kScaleDims; ++b) {
        int32_t sum = 0;
        for (int64_t j = 0; j < kScaleDims; ++j) sum += q[b * kScaleDims + j];
        state.q_sums[h][b] = sum;
      }
    }
  }

  template <int kQueries>
  static void score(const AttentionSpan& span, int64_t query, int64_t first, const State<kQueries>& state,
                    Vec sums[kQueries][kTwo]) {
    const std::byte* keys[kTwo];
    const float* scales[kTwo];
    for (int v = 0; v < kTwo; ++v) {
      const int64_t p = first + v * kLanes;
      const std::byte* tile = span.keys + p / kTile * span.key_stride;
      keys[v] = tile + p % kTile * 4;
      scales[v] = reinterpret_cast<const float*>(tile + kTile * span.d_head) + p % kTile;
    }
    const int8_t* q = span.q8 + query * span.d_head;
    const int64_t n_blocks = span.d_head / kScaleDims;
    for (int64_t b = 0; b < n_blocks; ++b) {
      Ints dots[kQueries][kTwo];
      for (int h = 0; h < kQueries; ++h) {
        for (int v = 0; v < kTwo; ++v) dots[h][v] = start_of_keys(state.q_sums[h][b]);
      }
      for (int64_t j = b * kScaleDims; j < (b + 1) * kScaleDims; j += 4) {
        Keys key[kTwo];
        for (int v = 0; v < kTwo; ++v) {
          key[v] = load_keys(keys[v] + j * kTile);
          ask_for_next_block(keys[v] + j * kTile, span.key_stride);
        }
        for (int h = 0; h < kQueries; ++h) {
          const FourOfQuery four = load_four(q + h * span.d_head + j);
          for (int v = 0; v < kTwo; ++v) dots[h][v] = add_fours(dots[h][v], key[v], four);
        }
      }
      Vec scale[kTwo];
      for (int v = 0; v < kTwo; ++v) {
        scale[v] = load(scales[v] + b * kTile);
        ask_for_next_block(scales[v] + b * kTile, span.key_stride);
      }
      for (int h = 0; h < kQueries; ++h) {
        const Vec of_query = broadcast(span.q8_scale[(query + h) * n_blocks + b]);
        for (int v = 0; v < kTwo; ++v) sums[h][v] = fma(to_float(dots[h][v]), scale[v] * of_query, sums[h][v]);
      }
    }
  }

  // Of a block's values; 0 beyond the last of n positions, of which nothing may be known.
  static void scales_of(const AttentionSpan& span, int64_t first, int64_t n, float scales[kPositions]) {
    for (int64_t p = 0; p < kPositions; ++p) {
      const int64_t at = first + p;
      const std::byte* tile = span.values + at / kTile * span.value_stride;
      if (p % kTile == 0) ask_for_next_block(tile + kTile * span.d_head, span.value_stride);
      scales[p] = p < n ? reinterpret_cast<const float*>(tile + kTile * span.d_head)[at % kTile] : 0.0f;
    }
  }

  template <int kQueries>
  static void weigh(const AttentionSpan& span, int64_t first, const Block<kQueries>& block,
                    const float weights[kQueries][kPositions], State<kQueries>& state) {
    float scales[kPositions];
    for (int h = 0; h < kQueries; ++h) {
      if (h == 0 || block.n[h] != block.n[h - 1]) scales_of(span, first, block.n[h], scales);
      Vec largest = zero();
      for (int64_t p = 0; p < kPositions; p += kLanes) largest = max(largest, load(weights[h] + p) * load(scales + p));
      const float most = max_lane(largest);
      const Vec inverse = broadcast(most > 0 ? kLargestWeight / most : 0.0f);
      for (int64_t p = 0; p < kPositions; p += kLanes) {
        store_int16(state.weights[h] + p, load(weights[h] + p) * load(scales + p) * inverse);
      }
      state.unit[h] = most / kLargestWeight;
    }
  }

  template <int kQueries, int kWidth, typename Lanes>
  static void accumulate(const AttentionSpan& span, int64_t first, const Block<kQueries>& block, int64_t c, Lanes,
                         const float[kQueries][kPositions], const State<kQueries>& state, Vec sums[kQueries][kWidth]) {
    Ints dots[kQueries][kWidth];
    for (int h = 0; h < kQueries; ++h) {
      for (int v = 0; v < kWidth; ++v) dots[h][v] = no_ints();
    }
    for (int64_t p = 0; p < block.most; p += 2) {
      const int64_t at = first + p;
      const auto* pair = reinterpret_cast<const int8_t*>(span.values + at / kTile * span.value_stride) +
                         (at % kTile * span.d_head + 2 * c);
      ask_for_next_block(pair, span.value_stride);
      Pairs pairs[kWidth];
      for (int v = 0; v < kWidth; ++v) pairs[v] = load_pairs(pair + v * 2 * kLanes);
      for (int h = 0; h < kQueries; ++h) {
        const TwoWeights two = load_two(state.weights[h] + p);
        for (int v = 0; v < kWidth; ++v) dots[h][v] = add_pairs(dots[h][v], pairs[v], two);
      }
    }
    for (int h = 0; h < kQueries; ++h) {
      const Vec unit = broadcast(state.unit[h]);
      for (int v = 0; v < kWidth; ++v) sums[h][v] = fma(to_float(dots[h][v]), unit, sums[h][v]);
    }
  }
};

// body(c, lanes, width) over n dimensions, kTwo vectors at a time while they last.
template <int N>
struct Vectors {
  static constexpr int n = N;
};
template <typename Body>
inline void over_dimensions(int64_t n, Body body) {
  int64_t c = 0;
  for (; c + kTwo * kLanes <= n; c += kTwo * kLanes) body(c, All{}, Vectors<kTwo>{});
  for (; c + kLanes <= n; c += kLanes) body(c, All{}, Vectors<1>{});
  if (c < n) body(c, First{n - c}, Vectors<1>{});
}

// kQueries queries from `query` on.
template <typename Cache, int kQueries>
struct SpanOfQueries {
  const AttentionSpan& span;
  int64_t query;
  int64_t n_positions[kQueries];  // of the span
  float* out[kQueries];           // [d_head]
  float largest[kQueries];
  float total[kQueries];
  float shrink[kQueries];
  float weights[kQueries][kPositions];
  typename Cache::template State<kQueries> state;

  void score(int64_t first, int64_t n) {
    const Vec scale = broadcast(span.scale);
    for (int64_t p = 0; p < n; p += kTwo * kLanes) {
      Vec sums[kQueries][kTwo];
      for (int h = 0; h < kQueries; ++h) {
        for (int v = 0; v < kTwo; ++v) sums[h][v] = zero();
      }
      Cache::template score<kQueries>(span, query, first + p, state, sums);
      for (int h = 0; h < kQueries; ++h) {
        for (int v = 0; v < kTwo; ++v) store(weights[h] + p + v * kLanes, sums[h][v] * scale);
      }
    }
  }

  // weights = exp(weights - largest); `shrink` is by how much what was summed before has to shrink.
  void exponentiate(const Block<kQueries>& block) {
    float now[kQueries];
    for (int h = 0; h < kQueries; ++h) {
      for (int64_t p = block.n[h]; p < kPositions; ++p) weights[h][p] = -__builtin_inff();
      Vec most = broadcast(largest[h]);
      for (int64_t p = 0; p < kPositions; p += kLanes) most = max(most, load(weights[h] + p));
      now[h] = max_lane(most);
    }
    over_lanes(kQueries, [&](int64_t h, auto lanes) {
      store(shrink + h, exp(load(largest + h, lanes) - load(now + h, lanes)), lanes);
    });
    for (int h = 0; h < kQueries; ++h) {
      if (largest[h] == -__builtin_inff()) shrink[h] = 0;
      largest[h] = now[h];
      Vec block_total = zero();
      for (int64_t p = 0; p < kPositions; p += kLanes) {
        const Vec weight = exp(load(weights[h] + p) - broadcast(now[h]));
        store(weights[h] + p, weight);
        block_total = block_total + weight;
      }
      total[h] = total[h] * shrink[h] + sum_lanes(block_total);
    }
  }

  void accumulate(int64_t first, const Block<kQueries>& block) {
    over_dimensions(span.d_head, [&](int64_t c, auto lanes, auto vectors) {
      constexpr int kWidth = decltype(vectors)::n;
      Vec sums[kQueries][kWidth];
      for (int h = 0; h < kQueries; ++h) {
        for (int v = 0; v < kWidth; ++v) {
          const Vec before = load(out[h] + c + v * kLanes, lanes);
          sums[h][v] = first == 0 ? zero() : before * broadcast(shrink[h]);
        }
      }
      Cache::template accumulate<kQueries, kWidth>(span, first, block, c, lanes, weights, state, sums);
      for (int h = 0; h < kQueries; ++h) {
        if (block.n[h] == 0) continue;
        for (int v = 0; v < kWidth; ++v) store(out[h] + c + v * kLanes, sums[h][v], lanes);
      }
    });
  }

  Block<kQueries> block_at(int64_t first) const {
    Block<kQueries> block;
    for (int h = 0; h < kQueries; ++h) {
      const int64_t left = n_positions[h] - first;
      block.n[h] = left < 0 ? 0 : left < kPositions ? left : kPositions;
    }
    block.least = block.n[0];  // later queries are of the same row or of later ones
    block.most = block.n[kQueries - 1];
    return block;
  }

  void run() {
    for (int h = 0; h < kQueries; ++h) {
      const int64_t n = span.n_positions + (query + h) / span.n_queries;
      n_positions[h] = n < kAttentionSpan ? n : kAttentionSpan;
      out[h] = sums_of(span, query + h);
      largest[h] = -__builtin_inff();
      total[h] = 0;
    }
    Cache::template start<kQueries>(span, query, state);
    for (int64_t first = 0; first < n_positions[kQueries - 1]; first += kPositions) {
      const Block<kQueries> block = block_at(first);
      score(first, block.most);
      exponentiate(block);
      Cache::template weigh<kQueries>(span, first, block, weights, state);
      accumulate(first, block);
    }
    for (int h = 0; h < kQueries; ++h) {
      span.largest[query + h] = largest[h];
      span.total[query + h] = total[h];
    }
  }
};

template <typename Cache, int kQueries>
inline void run_queries(const AttentionSpan& span, int64_t& query) {
  for (; query + kQueries <= span.n_rows * span.n_queries; query += kQueries) {
    SpanOfQueries<Cache, kQueries> group{span, query, {}, {}, {}, {}, {}, {}, {}};
    group.run();
  }
}

template <typename Cache>
inline void attention(const AttentionSpan& span) noexcept {
  int64_t query = 0;
  run_queries<Cache, kGroup>(span, query);
  run_queries<Cache, kGroup / 2>(span, query);
  run_queries<Cache, 1>(span, query);
}

inline void attention_merge(const AttentionSpan& into, const AttentionSpan& later) noexcept {
  for (int64_t h = 0; h < into.n_rows * into.n_queries; ++h) {
    const float ours = into.largest[h], theirs = later.largest[h];
    const float most = ours < theirs ? theirs : ours;
    const float keep = exp(ours - most), add = exp(theirs - most);
    into.largest[h] = most;
    into.total[h] = keep * into.total[h] + add * later.total[h];
    const float* from = sums_of(later, h);
    float* to = sums_of(into, h);
    over_lanes(into.d_head, [&](int64_t j, auto lanes) {
      store(to + j, fma(broadcast(add), load(from + j, lanes), broadcast(keep) * load(to + j, lanes)), lanes);
    });
  }
}

inline void attention_finish(const AttentionSpan& span) noexcept {
  for (int64_t h = 0; h < span.n_rows * span.n_queries; ++h) {
    const Vec inverse = broadcast(1.0f / span.total[h]);
    float* to = sums_of(span, h);
    over_lanes(span.d_head, [&](int64_t j, auto lanes) { store(to + j, load(to + j, lanes) * inverse, lanes); });
  }
}

inline void set_attention(KernelTable& table) {
  table.attention[static_cast<int>(KvFormat::f16)] = attention<FloatCache<uint16_t>>;
  table.attention[static_cast<int>(KvFormat::f32)] = attention<FloatCache<float>>;
  table.attention[static_cast<int>(KvFormat::q8)] = attention<Int8Cache>;
  table.attention_merge = attention_merge;
  table.attention_finish = attention_finish;
}

}  // namespace flashmoe::FLASHMOE_ISA
