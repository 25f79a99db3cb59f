// Dots (matmul.h) of formats with scales kept apart, on f32 activations. Any number of columns.
#pragma once

#include "kernels/cpu/vector/lanes.h"
#include "kernels/kernels.h"
#include "quant/affine.h"
#include "quant/fp8_e4m3.h"
#include "quant/mxfp4_split.h"

namespace flashmoe::FLASHMOE_ISA {

// sums[i] += weights [n] times columns [first, first + n) of row i, for N rows. `from` gives those from j on: load(j,
// out) as many as kVectors vectors hold, an even number, some(j, lanes) of one vector.
template <int N, typename Weights>
inline void add_products(const float* rows, int64_t stride, int64_t n, const Weights& from, Vec (&sums)[N][2]) {
  constexpr int kVectors = Weights::kVectors;
  int64_t j = 0;
  for (; j + kVectors * kLanes <= n; j += kVectors * kLanes) {
    Vec weights[kVectors];
    from.load(j, weights);
    for (int i = 0; i < N; ++i) {
      const float* row = rows + i * stride + j;
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) sums[i][k % 2] = fma(weights[k], load(row + k * kLanes), sums[i][k % 2]);
    }
  }
  over_lanes(n - j, [&](int64_t k, auto lanes) {
    const Vec weights = from.some(j + k, lanes);
    for (int i = 0; i < N; ++i) sums[i][0] = fma(weights, load(rows + i * stride + j + k, lanes), sums[i][0]);
  });
}

// Bytes of a vector that begins with some.
struct PaddedBytes {
  std::byte of[kLanes] = {};
  PaddedBytes(const std::byte* from, First lanes) {
    for (int64_t k = 0; k < lanes.n; ++k) of[k] = from[k];
  }
};

struct FloatWeights {
  static constexpr int kVectors = 2;
  const float* values;
  void load(int64_t j, Vec out[2]) const {
    out[0] = FLASHMOE_ISA::load(values + j);
    out[1] = FLASHMOE_ISA::load(values + j + kLanes);
  }
  template <typename Lanes>
  Vec some(int64_t j, Lanes lanes) const {
    return FLASHMOE_ISA::load(values + j, lanes);
  }
};
struct E4m3Weights {
  static constexpr int kVectors = 4;
  const std::byte* values;
  void load(int64_t j, Vec out[4]) const { load_e4m3(values + j, out); }
  Vec some(int64_t j, All) const { return load_e4m3(values + j); }
  Vec some(int64_t j, First lanes) const { return load_e4m3(PaddedBytes(values + j, lanes).of); }
};

// scale * q + bias of a group.
struct ByteWeights {
  static constexpr int kVectors = 2;
  const std::byte* q;
  Vec scale, bias;
  void load(int64_t j, Vec out[2]) const {
    for (int k = 0; k < 2; ++k) out[k] = some(j + k * kLanes, All{});
  }
  Vec some(int64_t j, All) const { return scale * load_bytes(q + j) + bias; }
  Vec some(int64_t j, First lanes) const { return scale * load_bytes(PaddedBytes(q + j, lanes).of) + bias; }
};

// By the format's definition: a piece of weights is decoded once for all activation rows of the group.
template <typename Block, void (*kDecode)(const PackedRow&, int64_t, int64_t, float*) noexcept>
struct ScaledDot {
  static constexpr bool kScalesApart = true;
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);
  static constexpr int64_t kPiece = 256;

  template <int N>
  static void run(const PackedRow& w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    Vec sums[N][2];
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = zero();
    for (int64_t c = 0; c < x.cols; c += kPiece) {
      const int64_t n = x.cols - c < kPiece ? x.cols - c : kPiece;
      float weights[kPiece];
      kDecode(w, c, n, weights);
      add_products<N>(x.f32 + first * x.cols + c, x.cols, n, FloatWeights{weights}, sums);
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes(sums[i][0] + sums[i][1]);
  }
};

// Affine with 8 bits, as MLX stores routers: the same operations as ScaledDot's, without a detour by memory.
struct Affine8Dot {
  static constexpr bool kScalesApart = true;
  static constexpr int64_t kBlockValues = BlockAffine<8>::kValues, kBlockBytes = sizeof(BlockAffine<8>);

  template <int N>
  static void run(const PackedRow& w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    Vec sums[N][2];
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = zero();
    for (int64_t c = 0, group = 0; c < x.cols; c += w.group_cols, ++group) {
      const int64_t n = x.cols - c < w.group_cols ? x.cols - c : w.group_cols;
      const ByteWeights weights = {w.data + c, broadcast(load_scale(w.type, w.scales, group)),
                                   broadcast(load_scale(w.type, w.biases, group))};
      add_products<N>(x.f32 + first * x.cols + c, x.cols, n, weights, sums);
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes(sums[i][0] + sums[i][1]);
  }
};

// FP8: values as they are, 2^-8 of their worth (load_e4m3); each group's sum meets its scale once.
struct Fp8Dot {
  static constexpr bool kScalesApart = true;
  static constexpr int kMostRows = 4;  // activations of more do not stay in L1
  static constexpr int64_t kBlockValues = 1, kBlockBytes = 1;

  template <int N>
  static void run(const PackedRow& w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    Vec totals[N];
    for (int i = 0; i < N; ++i) totals[i] = zero();
    for (int64_t c = 0, group = 0; c < x.cols; c += w.group_cols, ++group) {
      const int64_t n = x.cols - c < w.group_cols ? x.cols - c : w.group_cols;
      Vec sums[N][2];
      for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = zero();
      add_products<N>(x.f32 + first * x.cols + c, x.cols, n, E4m3Weights{w.data + c}, sums);
      const Vec scale = broadcast(load_scale(w.type, w.scales, group) * 256.0f);
      for (int i = 0; i < N; ++i) totals[i] = fma(scale, sums[i][0] + sums[i][1], totals[i]);
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes(totals[i]);
  }
};

}  // namespace flashmoe::FLASHMOE_ISA
