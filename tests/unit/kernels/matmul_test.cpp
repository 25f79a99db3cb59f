#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/cpu_features.h"
#include "quant/fp8_e4m3.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

constexpr float kUntouched = -12345.5f;

Matmul entry(const KernelTable& table, Format format, bool fast) {
  return (fast ? table.matmul_fast : table.matmul_exact)[static_cast<int>(format)];
}

// y [n, rows + 3], untouched outside the rows of the case.
std::vector<float> run(const KernelTable& table, const MatmulCase& c, const TestMatrix& w, const TestActivations& x,
                       bool fast) {
  std::vector<float> y(static_cast<size_t>(c.n * (c.rows + 3)), kUntouched);
  entry(table, c.format, fast)(w.view(), x.all(), y.data(), c.rows + 3, c.row_begin, c.row_end);
  return y;
}

bool has_fast(const MatmulCase& c) { return c.cols % kActivationBlock == 0; }

struct Expected {
  std::vector<double> y;          // [n] of one weight row
  std::vector<double> tolerance;  // [n]
};

// By the definition: decoded weights times activations. The tolerance is that of sums in f32: every partial sum is at
// most sum |x| max |w|, and a lane of 8 or more sees cols / 8 of them; 32 more roundings cover the scales, the minimum
// and the sum over lanes.
Expected expect_row(const MatmulCase& c, const TestMatrix& w, const TestActivations& x, int64_t row, bool fast) {
  std::vector<float> weights(static_cast<size_t>(c.cols));
  w.view().decode(row, 0, c.cols, weights.data());
  Expected expected;
  for (int64_t i = 0; i < c.n; ++i) {
    double dot = 0, largest = 0, total = 0;
    for (int64_t j = 0; j < c.cols; ++j) {
      const int64_t at = i * c.cols + j;
      const double weight = weights[static_cast<size_t>(j)];
      const double value = fast && !format_info(c.format).is_float
                               ? double{x.all().scale[at / kActivationBlock]} * x.all().q8[at]
                               : double{x.all().f32[at]};
      dot += weight * value;
      largest = std::max(largest, std::fabs(weight));
      total += std::fabs(value);
    }
    expected.y.push_back(dot);
    expected.tolerance.push_back(0x1p-24 * static_cast<double>(c.cols / 8 + 32) * largest * total);
  }
  return expected;
}

class EveryTable : public testing::TestWithParam<const KernelTable*> {};

TEST_P(EveryTable, MatmulsAgreeWithTheDefinition) {
  for (const MatmulCase& c : matmul_cases()) {
    const TestMatrix w(c.format, c.row_end, c.cols, 7, c.shift, c.grid);
    const TestActivations x(c.n, c.cols, 11);
    for (const bool fast : {false, true}) {
      if (fast && !has_fast(c)) continue;
      const std::vector<float> got = run(*GetParam(), c, w, x, fast);
      for (int64_t r = 0; r < c.rows + 3; ++r) {
        const bool is_computed = r >= c.row_begin && r < c.row_end;
        const Expected expected = is_computed ? expect_row(c, w, x, r, fast) : Expected{};
        for (int64_t i = 0; i < c.n; ++i) {
          const float y = got[static_cast<size_t>(i * (c.rows + 3) + r)];
          const auto token = static_cast<size_t>(i);
          if (!is_computed) {
            ASSERT_EQ(y, kUntouched) << c.name() << " wrote row " << r;
          } else {
            ASSERT_NEAR(y, expected.y[token], expected.tolerance[token])
                << c.name() << (fast ? " fast" : " exact") << " row " << r;
          }
        }
      }
    }
  }
}

TEST_P(EveryTable, MatmulBitsDoNotDependOnTheBatchOrTheRowRange) {
  for (const MatmulCase& c : matmul_cases()) {
    if (c.n < 17) continue;
    const TestMatrix w(c.format, c.row_end, c.cols, 7, c.shift, c.grid);
    const TestActivations x(c.n, c.cols, 13);
    for (const bool fast : {false, true}) {
      if (fast && !has_fast(c)) continue;
      const std::vector<float> batch = run(*GetParam(), c, w, x, fast);
      for (int64_t i = 0; i < c.n; ++i) {
        for (int64_t r = c.row_begin; r < c.row_end; ++r) {
          std::vector<float> alone(static_cast<size_t>(c.rows), kUntouched);
          entry(*GetParam(), c.format, fast)(w.view(), x.row(i), alone.data(), c.rows, r, r + 1);
          ASSERT_EQ(0,
                    std::memcmp(&alone[static_cast<size_t>(r)], &batch[static_cast<size_t>(i * (c.rows + 3) + r)], 4))
              << c.name() << (fast ? " fast" : " exact") << " row " << r << " token " << i;
        }
      }
    }
  }
}

// Some of the rows and some of the tokens at a time give the bits of all at once, whatever the pieces: tables choose
// other algorithms for few tokens, few rows and very wide rows.
TEST_P(EveryTable, MatmulBitsDoNotDependOnPieces) {
  struct Shape {
    Format format;
    int64_t rows, cols;
    ScaleGrid grid = {};
  };
  const ScaleGrid halves = {ScaleType::bf16, 1, 32, 0}, floats = {ScaleType::f32, 1, 64, 0};
  const Shape shapes[] = {{Format::q4_k, 40, 512},
                          {Format::q8_0, 40, 544},
                          {Format::q6_k, 20, 8192},
                          {Format::q2_k, 35, 768},
                          {Format::q3_k, 35, 256},
                          {Format::mxfp4, 21, 2080},
                          {Format::q5_1, 21, 96},
                          {Format::iq4_xs, 18, 16384},
                          {Format::iq2_xxs, 18, 768},
                          {Format::iq2_s, 20, 8192},
                          {Format::iq3_xxs, 21, 512},
                          {Format::iq1_m, 19, 1280},
                          {Format::q4_0, 5, 32768 + 64},
                          {Format::q4_k, 4, 65536},
                          {Format::q8_0, 3, 65536 + 32},
                          {Format::affine4, 40, 544, halves},
                          {Format::affine8, 21, 2112, floats},
                          {Format::affine3, 35, 768, {ScaleType::f16, 1, 128, 0}},
                          {Format::affine6, 20, 8192, halves},
                          {Format::affine4, 3, 65536 + 64, floats},
                          {Format::mxfp4_split, 35, 544, {ScaleType::e8m0, 1, 32, 0}}};
  for (const Shape& shape : shapes) {
    const int64_t n = shape.cols > 8192 ? 9 : shape.cols > 4096 ? 50 : 70;
    const TestMatrix w(shape.format, shape.rows, shape.cols, 7, 1, shape.grid);
    const TestActivations x(n, shape.cols, 13);
    const Matmul matmul = entry(*GetParam(), shape.format, true);
    std::vector<float> whole(static_cast<size_t>(n * shape.rows)), pieces(whole.size());
    matmul(w.view(), x.all(), whole.data(), shape.rows, 0, shape.rows);
    const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 11, 23};
    int64_t first = 0;
    for (size_t k = 0; first < n; ++k) {
      Activations some = x.row(first);
      some.n = std::min(sizes[k % 8], n - first);
      int64_t row = 0;
      for (size_t j = k; row < shape.rows; ++j) {
        const int64_t end = std::min(shape.rows, row + sizes[j % 8] * (j % 3 == 0 ? 1 : 2));
        matmul(w.view(), some, pieces.data() + first * shape.rows, shape.rows, row, end);
        row = end;
      }
      first += some.n;
    }
    EXPECT_EQ(0, std::memcmp(whole.data(), pieces.data(), whole.size() * sizeof(float)))
        << format_info(shape.format).name << " " << shape.rows << "x" << shape.cols;
  }
}

// Blocks of activations that add up to as much as they may, with as many of the largest as that allows.
std::vector<int8_t> largest_block_sums(int64_t cols, int sign, bool at_end) {
  std::vector<int8_t> q8(static_cast<size_t>(cols));
  for (size_t block = 0; block < q8.size(); block += kActivationBlock) {
    int left = kMostActivationSum;
    for (size_t j = 0; j < kActivationBlock; ++j) {
      const int value = std::min(left, 127);
      q8[block + (at_end ? kActivationBlock - 1 - j : j)] = static_cast<int8_t>(sign * value);
      left -= value;
    }
  }
  return q8;
}

// The largest quants and activations there are: sums that saturate anywhere on the way show here.
TEST_P(EveryTable, MatmulsHoldTheExtremes) {
  const KernelTable& scalar = **kernels_by_name("scalar");
  for (int f = 0; f < kFormatCount; ++f) {
    const auto format = static_cast<Format>(f);
    if (format_info(format).is_float) continue;
    for (const int pattern : {0x00, 0x80, 0x7f, 0xff}) {
      constexpr int64_t kCols = 512;
      std::vector<std::byte> bytes(static_cast<size_t>(format_bytes(format, kCols)), static_cast<std::byte>(pattern));
      const std::vector<float> ones(kCols / 32, 1.0f);
      const std::vector<std::byte> e8m0_ones(kCols / 32, std::byte{127});
      const auto* scales = reinterpret_cast<const std::byte*>(ones.data());
      MatrixView w = {bytes.data(), 1, kCols, format};
      if (n_scale_matrices(format) == 2) {
        w = {bytes.data(), 1, kCols, format, {ScaleType::f32, 1, 32, 0}, scales, scales};
      } else if (n_scale_matrices(format) == 1) {
        w = {bytes.data(), 1, kCols, format, {ScaleType::e8m0, 1, 32, 0}, e8m0_ones.data()};
      } else {
        const int64_t block_bytes = format_info(format).block_bytes;
        for (int64_t b = 0; b < kCols / format_info(format).block_values; ++b) {
          set_block_scales(format, 1, 1, bytes.data() + b * block_bytes);
        }
      }
      for (const int sign : {-1, 1}) {
        for (const bool at_end : {false, true}) {  // of each block
          constexpr int64_t kRows = 30;            // of activations: alone and many, the same each
          std::vector<int8_t> q8;
          for (int64_t i = 0; i < kRows; ++i) {
            const std::vector<int8_t> row = largest_block_sums(kCols, sign, at_end);
            q8.insert(q8.end(), row.begin(), row.end());
          }
          const std::vector<float> scale(kRows * kCols / 32, 1.0f),
              sum(kRows * kCols / 32, static_cast<float>(sign * kMostActivationSum));
          Activations x = {1, kCols, nullptr, q8.data(), scale.data(), sum.data()};
          float want = 0, alone = 0;
          entry(scalar, format, true)(w, x, &want, 1, 0, 1);
          entry(*GetParam(), format, true)(w, x, &alone, 1, 0, 1);
          EXPECT_NEAR(alone, want, 1e-6 * std::fabs(want) + 64) << format_info(format).name << " " << pattern;
          x.n = kRows;
          std::vector<float> many(kRows);
          entry(*GetParam(), format, true)(w, x, many.data(), 1, 0, 1);
          EXPECT_EQ(many, std::vector<float>(kRows, alone)) << format_info(format).name << " " << pattern;
        }
      }
    }
  }
}

// Subnormals, both zeros and what is not a number, wherever in a row they are.
TEST_P(EveryTable, EveryE4m3ValueIsExact) {
  constexpr int64_t kCols = 64 + 32 + 16 + 5;
  const float scale = 0.75f;
  for (const int64_t at : {0, 17, 40, 63, 70, 100, 115}) {
    std::vector<float> x(kCols);
    x[static_cast<size_t>(at)] = 1;
    std::vector<std::byte> weights(256 * kCols);
    for (int64_t v = 0; v < 256; ++v) weights[static_cast<size_t>(v * kCols + at)] = static_cast<std::byte>(v);
    const std::vector<float> scales(256, scale);
    const MatrixView w = {weights.data(),
                          256,
                          kCols,
                          Format::fp8_e4m3,
                          {ScaleType::f32, 1, 128, 0},
                          reinterpret_cast<const std::byte*>(scales.data())};
    std::vector<float> y(256);
    entry(*GetParam(), Format::fp8_e4m3, false)(w, {1, kCols, x.data(), nullptr, nullptr, nullptr}, y.data(), 256, 0,
                                                256);
    for (int v = 0; v < 256; ++v) {
      const float want = scale * e4m3_to_f32(static_cast<uint8_t>(v)), got = y[static_cast<size_t>(v)];
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(got)) << v << " at " << at;
      } else {
        EXPECT_EQ(got, want) << v << " at " << at;
      }
    }
  }
}

TEST_P(EveryTable, QuantisesActivationsToTheBitsOfScalar) {
  std::mt19937 random(5);
  constexpr int64_t kN = 12, kCols = 320;  // a group of 8 blocks and one of 2
  std::vector<float> x = random_floats(random, kN * kCols);
  for (size_t j = 0; j < 32; ++j) {
    x[32 + j] = 0;        // an empty block
    x[64 + j] *= 1e-20f;  // far below the others
    x[160 + j] = -3;      // adds up to too much
    x[kCols + 64 + j] *= 1e30f;
    x[2 * kCols + 256 + j] = j == 7 ? 127 : static_cast<float>(j % 8) + 0.5f;  // halves, which round to even
    x[2 * kCols + 288 + j] = j == 30 ? -127 : 0;
    for (size_t block = 0; block < 8; ++block) x[3 * kCols + 32 * block + j] *= 1e-38f;  // count as empty
    for (size_t block = 0; block < 10; ++block) x[4 * kCols + 32 * block + j] = 0;
    for (size_t block = 0; block < 10; ++block) x[5 * kCols + 32 * block + j] = j % 2 == 0 ? 5 : -5;
  }
  const auto quantise = [&](const KernelTable& table, std::vector<int8_t>& q8, std::vector<float>& scales) {
    q8.assign(x.size(), 99);
    scales.assign(x.size() / 16, 99);
    table.quantise_activations(x.data(), kN, kCols, q8.data(), scales.data(), scales.data() + x.size() / 32);
  };
  std::vector<int8_t> want_q8, q8;
  std::vector<float> want_scales, scales;
  quantise(**kernels_by_name("scalar"), want_q8, want_scales);
  quantise(*GetParam(), q8, scales);
  EXPECT_EQ(q8, want_q8);
  EXPECT_EQ(0, std::memcmp(scales.data(), want_scales.data(), scales.size() * sizeof(float)));
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(scales[i / 32] * q8[i], x[i], scales[i / 32] * 0.5001f + 1e-30f) << i;
  }
  EXPECT_EQ(scales[(2 * kCols + 256) / 32], 1);
  for (size_t b = 0; b < x.size() / 32; ++b) {
    int total = 0, magnitude = 0;
    for (size_t j = 0; j < 32; ++j) {
      total += q8[b * 32 + j];
      magnitude += std::abs(q8[b * 32 + j]);
    }
    EXPECT_EQ(scales[x.size() / 32 + b], scales[b] * static_cast<float>(total));
    EXPECT_LE(magnitude, kMostActivationSum);
  }
  for (size_t row = 0; row < kN; ++row) {
    for (size_t first = 0; first < kCols; first += kActivationGroup) {
      const float* group = &scales[(row * kCols + first) / 32];
      const float* end = group + std::min<size_t>(kCols - first, kActivationGroup) / 32;
      const float unit = *std::max_element(group, end) / kMostActivationScale;
      for (const float* scale = group; scale < end && unit > 0; ++scale) {
        EXPECT_NEAR(*scale / unit, std::round(*scale / unit), 1e-4) << "row " << row;
      }
    }
  }
}

// Whoever samples from what comes of it must be able to tell.
TEST_P(EveryTable, AGroupWithAValueThatIsNotFiniteHasNoScale) {
  constexpr int64_t kCols = 512;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {0, 77, 255}) {
      std::mt19937 random(6);
      std::vector<float> x = random_floats(random, kCols), scales(2 * kCols / 32);
      x[at] = bad;
      std::vector<int8_t> q8(kCols);
      GetParam()->quantise_activations(x.data(), 1, kCols, q8.data(), scales.data(), scales.data() + kCols / 32);
      for (size_t block = 0; block < kCols / 32; ++block) {
        EXPECT_EQ(std::isnan(scales[block]), block < 8) << block << " for " << bad << " at " << at;
        EXPECT_EQ(std::isnan(scales[kCols / 32 + block]), block < 8) << block << " for " << bad << " at " << at;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, EveryTable, testing::ValuesIn(available_tables()),
                         [](const auto& param) { return param.param->name; });

TEST(Kernels, AreFoundByName) {
  EXPECT_STREQ((*kernels_by_name("scalar"))->name, "scalar");
  EXPECT_EQ(kernels_by_name("avx1024"), std::nullopt);
  EXPECT_EQ(kernels_by_name("avx2").has_value(), cpu_features().avx2);
  EXPECT_EQ(kernels_by_name("avxvnni").has_value(), cpu_features().avx_vnni || cpu_features().avx512_vnni);
  EXPECT_EQ(kernels_by_name("avx512").has_value(), cpu_features().avx512);
  EXPECT_EQ(kernels_by_name("neon").has_value(), cpu_features().neon);
  EXPECT_EQ(&best_kernels(), available_tables().back());
}

}  // namespace
}  // namespace flashmoe
