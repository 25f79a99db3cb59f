// How every matmul walks its rows, and the matmuls on f32 activations. Contracts: kernels.h.
//
// A matmul is a Dot: `template <int N> static void run(weights, x, first, y, y_stride)` computes one weight row times
// activation rows [first, first + N). For each of them it does the same operations in the same order whatever N is,
// which makes results independent of the batch. `weights` is the row's first block, or for formats with scales kept
// apart a PackedRow.
#pragma once

#include "kernels/cpu/vector/lanes.h"
#include "kernels/cpu/vector/scaled_dot.h"
#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace flashmoe::FLASHMOE_ISA {

// Weight rows that stay in L1 and L2 while groups of activation rows pass over them.
inline constexpr int64_t kRowTile = 16;

// What a Dot's run() takes for row r.
template <typename Dot>
inline auto row_of(const MatrixView& w, int64_t r, int64_t row_bytes) {
  if constexpr (requires { Dot::kScalesApart; }) {
    return packed_row(w, r, row_bytes);
  } else {
    return w.data + r * row_bytes;
  }
}

// Rows of activations that a Dot takes at once.
template <typename Dot>
constexpr int most_rows() {
  if constexpr (requires { Dot::kMostRows; }) return Dot::kMostRows < kGroup ? Dot::kMostRows : kGroup;
  return kGroup;
}

template <typename Dot>
inline void matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                   int64_t row_end) noexcept {
  constexpr int kMost = most_rows<Dot>();
  const int64_t row_bytes = w.cols / Dot::kBlockValues * Dot::kBlockBytes;
  for (int64_t tile = row_begin; tile < row_end; tile += kRowTile) {
    const int64_t tile_end = tile + kRowTile < row_end ? tile + kRowTile : row_end;
    int64_t i = 0;
    while (i < x.n) {
      const int64_t left = x.n - i;
      const int64_t group = left >= kMost ? kMost : left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const auto run = group == kMost ? Dot::template run<kMost>
                       : group == 4   ? Dot::template run<4>
                       : group == 2   ? Dot::template run<2>
                                      : Dot::template run<1>;
      for (int64_t r = tile; r < tile_end; ++r) {
        run(row_of<Dot>(w, r, row_bytes), x, i, y + i * y_stride + r, y_stride);
      }
      i += group;
    }
  }
}

// Float weights, read where they lie. Weight rows are multiplied kWideRows at a time with up to kWideGroup rows of
// activations, whose sums take three quarters of the registers: one load then feeds four or six products. With one row
// of activations memory is the bound, which is read best from the first byte to the last; vectors of 16 lanes keep up
// with it although each product waits for the one before.
inline constexpr int kWideRows = kGroup / 2, kWideGroup = 6;
template <int N>
inline constexpr int kFloatRows = N == 1 && kLanes == 16 ? 1 : kWideRows;

template <typename Stored>
struct FloatTile {
  // Columns of kWideGroup rows of activations that stay in L1 while the tile's weights pass.
  static constexpr int64_t kColumns = 1024, kRows = kRowTile;

  // sums[r][i] += w[r] . x[i] over columns [begin, end), lane by lane.
  template <int W, int N>
  static void add(const std::byte* w, int64_t row_bytes, const float* x, int64_t cols, int64_t begin, int64_t end,
                  Vec sums[][N]) {
    Vec live[W][N];
    for (int r = 0; r < W; ++r) {
      for (int i = 0; i < N; ++i) live[r][i] = sums[r][i];
    }
    int64_t c = begin;
    for (; c + kLanes <= end; c += kLanes) {
      Vec weights[W];
#pragma GCC unroll 4
      for (int r = 0; r < W; ++r) weights[r] = Stored::load(w + r * row_bytes + c * Stored::kBytes);
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) {
        const Vec values = load(x + i * cols + c);
#pragma GCC unroll 4
        for (int r = 0; r < W; ++r) live[r][i] = fma(weights[r], values, live[r][i]);
      }
    }
    if (c < end) {
      for (int r = 0; r < W; ++r) {
        float tail[kLanes] = {};
        Stored::decode(w + r * row_bytes + c * Stored::kBytes, end - c, tail);
        for (int i = 0; i < N; ++i) live[r][i] = fma(load(tail), load(x + i * cols + c, First{end - c}), live[r][i]);
      }
    }
    for (int r = 0; r < W; ++r) {
      for (int i = 0; i < N; ++i) sums[r][i] = live[r][i];
    }
  }

  // n_rows <= kRows weight rows times N rows of activations.
  template <int N>
  static void run(const std::byte* w, int64_t row_bytes, int64_t n_rows, const float* x, int64_t cols, float* y,
                  int64_t y_stride) {
    Vec sums[kRows][N];
    for (int64_t r = 0; r < n_rows; ++r) {
      for (int i = 0; i < N; ++i) sums[r][i] = zero();
    }
    const int64_t columns = N < kWideGroup ? cols : kColumns;
    for (int64_t c = 0; c < cols; c += columns) {
      const int64_t end = c + columns < cols ? c + columns : cols;
      int64_t r = 0;
      for (; r + kFloatRows<N> <= n_rows; r += kFloatRows<N>) {
        add<kFloatRows<N>, N>(w + r * row_bytes, row_bytes, x, cols, c, end, sums + r);
      }
      for (; r < n_rows; ++r) add<1, N>(w + r * row_bytes, row_bytes, x, cols, c, end, sums + r);
    }
    for (int i = 0; i < N; ++i) {
      for (int64_t r = 0; r < n_rows; ++r) y[i * y_stride + r] = sum_lanes(sums[r][i]);
    }
  }
};

template <typename Stored>
inline void float_matmul(const MatrixView& w, const Activations& x, float* y, int64_t y_stride, int64_t row_begin,
                         int64_t row_end) noexcept {
  using Tile = FloatTile<Stored>;
  const int64_t row_bytes = w.cols * Stored::kBytes;
  for (int64_t tile = row_begin; tile < row_end; tile += Tile::kRows) {
    const int64_t n_rows = row_end - tile < Tile::kRows ? row_end - tile : Tile::kRows;
    int64_t i = 0;
    const auto run = [&]<int N>() {
      for (; i + N <= x.n; i += N) {
        Tile::template run<N>(w.data + tile * row_bytes, row_bytes, n_rows, x.f32 + i * x.cols, x.cols,
                              y + i * y_stride + tile, y_stride);
      }
    };
    run.template operator()<kWideGroup>();
    run.template operator()<3>();
    run.template operator()<1>();
  }
}

struct StoredF32 {
  static constexpr int64_t kBytes = 4;
  static Vec load(const std::byte* p) { return FLASHMOE_ISA::load(reinterpret_cast<const float*>(p)); }
  static constexpr auto decode = decode_f32;
};
struct StoredF16 {
  static constexpr int64_t kBytes = 2;
  static Vec load(const std::byte* p) { return FLASHMOE_ISA::load(reinterpret_cast<const uint16_t*>(p)); }
  static constexpr auto decode = decode_f16;
};
struct StoredBf16 {
  static constexpr int64_t kBytes = 2;
  static Vec load(const std::byte* p) { return load_bf16(p); }
  static constexpr auto decode = decode_bf16;
};

// Block formats by their definition: a piece of weights is decoded once for all activation rows of the group.
template <typename Block, void (*kDecode)(const std::byte*, int64_t, float*) noexcept>
struct DecodeDot {
  static constexpr int64_t kBlockValues = Block::kValues, kBlockBytes = sizeof(Block);
  static constexpr int64_t kPiece = 256;

  template <int N>
  static void run(const std::byte* w, const Activations& x, int64_t first, float* y, int64_t y_stride) {
    const float* rows = x.f32 + first * x.cols;
    Vec sums[N][2];
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = zero();
    for (int64_t c = 0; c < x.cols; c += kPiece) {
      const int64_t n = x.cols - c < kPiece ? x.cols - c : kPiece;  // a multiple of 32
      float weights[kPiece];
      kDecode(w + c / kBlockValues * kBlockBytes, n, weights);
      for (int64_t j = 0; j < n; j += 2 * kLanes) {
        const Vec even = load(weights + j), odd = load(weights + j + kLanes);
        for (int i = 0; i < N; ++i) {
          const float* row = rows + i * x.cols + c + j;
          sums[i][0] = fma(even, load(row), sums[i][0]);
          sums[i][1] = fma(odd, load(row + kLanes), sums[i][1]);
        }
      }
    }
    for (int i = 0; i < N; ++i) y[i * y_stride] = sum_lanes(sums[i][0] + sums[i][1]);
  }
};

inline void set_exact_matmuls(KernelTable& table) {
  const auto set = [&table](Format format, Matmul entry) { table.matmul_exact[static_cast<int>(format)] = entry; };
  set(Format::f32, float_matmul<StoredF32>);
  set(Format::f16, float_matmul<StoredF16>);
  set(Format::bf16, float_matmul<StoredBf16>);
  set(Format::q8_0, matmul<DecodeDot<BlockQ8_0, decode_q8_0>>);
  set(Format::q4_0, matmul<DecodeDot<BlockQ4_0, decode_q4_0>>);
  set(Format::q4_k, matmul<DecodeDot<BlockQ4_K, decode_q4_k>>);
  set(Format::q5_k, matmul<DecodeDot<BlockQ5_K, decode_q5_k>>);
  set(Format::q6_k, matmul<DecodeDot<BlockQ6_K, decode_q6_k>>);
  set(Format::q4_1, matmul<DecodeDot<BlockQ4_1, decode_q4_1>>);
  set(Format::q5_0, matmul<DecodeDot<BlockQ5_0, decode_q5_0>>);
  set(Format::q5_1, matmul<DecodeDot<BlockQ5_1, decode_q5_1>>);
  set(Format::q2_k, matmul<DecodeDot<BlockQ2_K, decode_q2_k>>);
  set(Format::q3_k, matmul<DecodeDot<BlockQ3_K, decode_q3_k>>);
  set(Format::iq1_s, matmul<DecodeDot<BlockIQ1_S, decode_iq1_s>>);
  set(Format::iq1_m, matmul<DecodeDot<BlockIQ1_M, decode_iq1_m>>);
  set(Format::iq2_xxs, matmul<DecodeDot<BlockIQ2_XXS, decode_iq2_xxs>>);
  set(Format::iq2_xs, matmul<DecodeDot<BlockIQ2_XS, decode_iq2_xs>>);
  set(Format::iq2_s, matmul<DecodeDot<BlockIQ2_S, decode_iq2_s>>);
  set(Format::iq3_xxs, matmul<DecodeDot<BlockIQ3_XXS, decode_iq3_xxs>>);
  set(Format::iq3_s, matmul<DecodeDot<BlockIQ3_S, decode_iq3_s>>);
  set(Format::iq4_nl, matmul<DecodeDot<BlockIQ4_NL, decode_iq4_nl>>);
  set(Format::iq4_xs, matmul<DecodeDot<BlockIQ4_XS, decode_iq4_xs>>);
  set(Format::mxfp4, matmul<DecodeDot<BlockMXFP4, decode_mxfp4>>);
  set(Format::affine2, matmul<ScaledDot<BlockAffine<2>, decode_affine<2>>>);
  set(Format::affine3, matmul<ScaledDot<BlockAffine<3>, decode_affine<3>>>);
  set(Format::affine4, matmul<ScaledDot<BlockAffine<4>, decode_affine<4>>>);
  set(Format::affine5, matmul<ScaledDot<BlockAffine<5>, decode_affine<5>>>);
  set(Format::affine6, matmul<ScaledDot<BlockAffine<6>, decode_affine<6>>>);
  set(Format::affine8, matmul<Affine8Dot>);
  set(Format::mxfp4_split, matmul<ScaledDot<BlockMXFP4Split, decode_mxfp4_split>>);
  set(Format::fp8_e4m3, matmul<Fp8Dot>);
  for (const Format format : {Format::f32, Format::f16, Format::bf16, Format::fp8_e4m3}) {
    table.matmul_fast[static_cast<int>(format)] = table.matmul_exact[static_cast<int>(format)];
  }
}

}  // namespace flashmoe::FLASHMOE_ISA
