#include "quant/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "support/random.h"

namespace flashmoe {
namespace {

constexpr int64_t kCols = 512;

struct Encoded {
  std::vector<std::byte> weights, scales, biases;
  bool operator==(const Encoded&) const = default;
};

ScaleGrid grid_of(Format format, ScaleType type = ScaleType::bf16, int group = 64) {
  return n_scale_matrices(format) > 0 ? ScaleGrid{type, 1, group, 0} : ScaleGrid{};
}

Encoded encode(Format format, const std::vector<float>& x, const float* importance = nullptr,
               EncodeCode code = EncodeCode::baseline, ScaleGrid grid = {}) {
  if (grid.group_cols == 0) grid = grid_of(format);
  const auto rows = static_cast<int64_t>(x.size()) / kCols;
  const auto scale_bytes = static_cast<size_t>(scale_matrix_bytes(grid, rows, kCols));
  Encoded out = {std::vector<std::byte>(static_cast<size_t>(format_bytes(format, rows * kCols))),
                 std::vector<std::byte>(scale_bytes), std::vector<std::byte>(scale_bytes)};
  EXPECT_TRUE(encode_rows_with(code, format, grid, x.data(), rows, kCols, importance,
                               {out.weights.data(), out.scales.data(), out.biases.data()}));
  return out;
}

std::vector<float> decode(Format format, const Encoded& encoded, ScaleGrid grid = {}) {
  if (grid.group_cols == 0) grid = grid_of(format);
  const int64_t row_bytes = format_bytes(format, kCols), scale_row = scale_row_bytes(grid, kCols);
  const int64_t rows = static_cast<int64_t>(encoded.weights.size()) / row_bytes;
  std::vector<float> out(static_cast<size_t>(rows * kCols));
  for (int64_t r = 0; r < rows; ++r) {
    const PackedRow row = {encoded.weights.data() + r * row_bytes, encoded.scales.data() + r * scale_row,
                           encoded.biases.data() + r * scale_row, grid.group_cols, grid.type};
    format_info(format).decode(row, 0, kCols, out.data() + r * kCols);
  }
  return out;
}

// Squared error over squared values, columns weighted.
double error_of(const float* x, const float* decoded, const float* importance) {
  double error = 0, all = 0;
  for (int64_t i = 0; i < kCols; ++i) {
    const double w = importance == nullptr ? 1 : importance[i], d = double{decoded[i]} - x[i];
    error += w * d * d;
    all += w * x[i] * x[i];
  }
  return all > 0 ? error / all : error;
}

std::vector<Format> encodable() {
  std::vector<Format> formats;
  for (int i = 0; i < kFormatCount; ++i) {
    if (can_encode(static_cast<Format>(i))) formats.push_back(static_cast<Format>(i));
  }
  return formats;
}

std::vector<float> normal_rows(uint64_t seed, int64_t rows, float scale) {
  Random random(seed);
  std::vector<float> x(static_cast<size_t>(rows * kCols));
  for (float& v : x) v = random.normal() * scale;
  return x;
}

// What tools/make_encode_fixtures.py wrote.
struct Reference {
  std::vector<float> importance, values;
  struct Errors {
    std::string format;
    std::vector<float> plain, weighted;  // [rows]
  };
  std::vector<Errors> errors;
};

Reference read_reference() {
  std::ifstream file(std::string(FLASHMOE_TEST_DATA) + "/quant/encode.bin", std::ios::binary);
  const auto number = [&] {
    uint32_t n = 0;
    file.read(reinterpret_cast<char*>(&n), sizeof(n));
    return n;
  };
  const auto floats = [&](size_t n) {
    std::vector<float> v(n);
    file.read(reinterpret_cast<char*>(v.data()), static_cast<std::streamsize>(n * sizeof(float)));
    return v;
  };
  Reference all;
  const size_t rows = number(), cols = number();
  EXPECT_EQ(cols, size_t{kCols});
  all.importance = floats(cols);
  all.values = floats(rows * cols);
  all.errors.resize(number());
  for (Reference::Errors& errors : all.errors) {
    char name[17] = {};
    file.read(name, 16);
    errors.format = name;
    errors.plain = floats(rows);
    errors.weighted = floats(rows);
  }
  EXPECT_TRUE(file.good());
  return all;
}

class EveryEncoder : public testing::TestWithParam<Format> {};

TEST_P(EveryEncoder, ErrsNoMoreThanTheReferenceQuantiser) {
  const Reference reference = read_reference();
  const auto found = std::find_if(reference.errors.begin(), reference.errors.end(),
                                  [](const auto& e) { return e.format == format_info(GetParam()).name; });
  if (format_info(GetParam()).is_float) return;
  ASSERT_NE(found, reference.errors.end());
  const std::vector<float> plain = decode(GetParam(), encode(GetParam(), reference.values));
  const std::vector<float> weighted =
      decode(GetParam(), encode(GetParam(), reference.values, reference.importance.data()));
  // A search from other starting points loses a row now and then; over all kinds of rows it must gain.
  double plain_sum = 0, weighted_sum = 0;
  const auto n_rows = static_cast<double>(found->plain.size());
  for (size_t row = 0; row < found->plain.size(); ++row) {
    const float* x = reference.values.data() + row * kCols;
    const double plain_ratio = error_of(x, plain.data() + row * kCols, nullptr) / found->plain[row];
    const double weighted_ratio =
        error_of(x, weighted.data() + row * kCols, reference.importance.data()) / found->weighted[row];
    EXPECT_LE(plain_ratio, 1.05) << row;
    EXPECT_LE(weighted_ratio, 1.15) << row;
    plain_sum += plain_ratio, weighted_sum += weighted_ratio;
  }
  EXPECT_LT(plain_sum / n_rows, 0.99);
  EXPECT_LT(weighted_sum / n_rows, 0.99);
  RecordProperty("plain", std::to_string(plain_sum / n_rows));
  RecordProperty("weighted", std::to_string(weighted_sum / n_rows));
}

TEST_P(EveryEncoder, GivesTheSameBytesWithEveryInstructionSet) {
  const Reference reference = read_reference();
  std::vector<float> x = normal_rows(3, 8, 0.02f);
  x.insert(x.end(), reference.values.begin(), reference.values.end());
  const Encoded want = encode(GetParam(), x, reference.importance.data());
  const ScaleGrid grid = grid_of(GetParam());
  Encoded got = want;
  std::fill(got.weights.begin(), got.weights.end(), std::byte{0});
  if (!encode_rows_with(EncodeCode::avx2, GetParam(), grid, x.data(), static_cast<int64_t>(x.size()) / kCols, kCols,
                        reference.importance.data(), {got.weights.data(), got.scales.data(), got.biases.data()})) {
    GTEST_SKIP() << "no AVX2 here";
  }
  EXPECT_EQ(want, got);
}

// Row `r` of `all`, each of `n` bytes, stands in `one` behind its first byte.
bool same(const std::vector<std::byte>& one, const std::vector<std::byte>& all, size_t r, size_t n) {
  const auto at = [](size_t offset) { return static_cast<std::ptrdiff_t>(offset); };
  return std::equal(one.begin() + 1, one.begin() + at(n + 1), all.begin() + at(r * n));
}

TEST_P(EveryEncoder, RowsAreIndependentAndBytesLieAnywhere) {
  const std::vector<float> x = normal_rows(4, 3, 0.5f);
  const Encoded together = encode(GetParam(), x);
  const auto row_bytes = static_cast<size_t>(format_bytes(GetParam(), kCols));
  const auto scale_row = static_cast<size_t>(scale_row_bytes(grid_of(GetParam()), kCols));
  for (size_t r = 0; r < 3; ++r) {
    Encoded one = {std::vector<std::byte>(row_bytes + 1), std::vector<std::byte>(scale_row + 1),
                   std::vector<std::byte>(scale_row + 1)};
    encode_rows(GetParam(), grid_of(GetParam()), x.data() + r * kCols, 1, kCols, nullptr,
                {one.weights.data() + 1, one.scales.data() + 1, one.biases.data() + 1});
    EXPECT_TRUE(same(one.weights, together.weights, r, row_bytes));
    EXPECT_TRUE(same(one.scales, together.scales, r, scale_row));
    EXPECT_TRUE(same(one.biases, together.biases, r, scale_row));
  }
}

TEST_P(EveryEncoder, SizeOfTheValuesDoesNotMatterWithinReach) {
  const std::vector<float> x = normal_rows(5, 4, 1);
  const double want = error_of(x.data(), decode(GetParam(), encode(GetParam(), x)).data(), nullptr);
  for (const float scale : {0x1p-6f, 0x1p6f}) {
    std::vector<float> moved = x;
    for (float& v : moved) v *= scale;
    const double got = error_of(moved.data(), decode(GetParam(), encode(GetParam(), moved)).data(), nullptr);
    EXPECT_NEAR(got, want, want * 0.05 + 1e-12) << scale;
  }
}

TEST_P(EveryEncoder, ExtremesStayFiniteAndNear) {
  constexpr float kMost = 1e38f, kLeast = std::numeric_limits<float>::denorm_min();
  std::vector<float> zeros(kCols, 0.0f);
  EXPECT_EQ(decode(GetParam(), encode(GetParam(), zeros)), zeros);
  for (const float size : {kMost, 1e30f, 1e5f, 1e-5f, 1e-30f, 1e-38f, 1e-40f, kLeast}) {
    for (const bool alone : {false, true}) {  // all values of that size, or one among ordinary ones
      std::vector<float> x = normal_rows(6, 1, alone ? 1.0f : size / 8);
      x[100] = size;
      const std::vector<float> got = decode(GetParam(), encode(GetParam(), x));
      for (const float v : got) ASSERT_TRUE(std::isfinite(v)) << size;
      if (size <= 1e4f) {
        // Never farther than storing zeros would be; ordinary values stay what they were.
        EXPECT_LE(error_of(x.data(), got.data(), nullptr), alone ? 0.3 : 1.0 + 1e-6) << size;
      }
    }
  }
  std::vector<float> constant(kCols, 0.75f);
  const auto near = decode(GetParam(), encode(GetParam(), constant));
  EXPECT_LT(error_of(constant.data(), near.data(), nullptr), 1e-3);
}

TEST_P(EveryEncoder, NoNumberNoCrash) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = normal_rows(7, 2, 1);
    const Encoded clean = encode(GetParam(), x);
    x[40] = bad;
    const Encoded got = encode(GetParam(), x);
    const auto row_bytes = static_cast<size_t>(format_bytes(GetParam(), kCols));
    EXPECT_EQ(std::memcmp(got.weights.data() + row_bytes, clean.weights.data() + row_bytes, row_bytes), 0);
    if (std::isnan(bad) && format_info(GetParam()).is_float) {
      EXPECT_TRUE(std::isnan(decode(GetParam(), got)[40]));
    }
  }
}

TEST_P(EveryEncoder, ImportanceMovesTheErrorToTheColumnsThatMatterLess) {
  if (format_info(GetParam()).is_float) return;
  const std::vector<float> x = normal_rows(8, 16, 0.02f);
  std::vector<float> importance(kCols, 1.0f);
  for (size_t i = 0; i < kCols; i += 4) importance[i] = 50;
  const auto error_at = [&](const std::vector<float>& decoded, bool important) {
    double error = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if ((i % 4 == 0) == important) error += std::pow(double{decoded[i]} - x[i], 2);
    }
    return error;
  };
  const std::vector<float> plain = decode(GetParam(), encode(GetParam(), x));
  const std::vector<float> weighted = decode(GetParam(), encode(GetParam(), x, importance.data()));
  if (GetParam() == Format::mxfp4) {  // a power of two leaves little to choose
    EXPECT_LE(error_at(weighted, true), error_at(plain, true));
    return;
  }
  EXPECT_LT(error_at(weighted, true), 0.97 * error_at(plain, true));
  EXPECT_GT(error_at(weighted, false), error_at(plain, false));
}

TEST_P(EveryEncoder, ImportanceCountsBySharesAndMayBeZero) {
  const std::vector<float> x = normal_rows(9, 2, 0.02f);
  const std::vector<float> zeros(kCols, 0.0f), huge(kCols, 1e30f);
  std::vector<float> some(kCols, 0.0f);
  some[3] = 1e-30f;
  const Encoded plain = encode(GetParam(), x);
  EXPECT_EQ(encode(GetParam(), x, zeros.data()), plain);
  const auto near = decode(GetParam(), encode(GetParam(), x, huge.data()));
  const double want = error_of(x.data(), decode(GetParam(), plain).data(), nullptr);
  EXPECT_NEAR(error_of(x.data(), near.data(), nullptr), want, want * 0.01);
  for (const float v : decode(GetParam(), encode(GetParam(), x, some.data()))) ASSERT_TRUE(std::isfinite(v));
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryEncoder, testing::ValuesIn(encodable()),
                         [](const auto& param) { return format_info(param.param).name; });

TEST(Encode, AffineTakesAnyGroupAndTypeOfScale) {
  const std::vector<float> x = normal_rows(10, 4, 0.02f);
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    double last = 0;
    for (const int group : {32, 64, 128}) {
      const ScaleGrid grid = grid_of(Format::affine4, type, group);
      const auto got = decode(Format::affine4, encode(Format::affine4, x, nullptr, EncodeCode::baseline, grid), grid);
      const double error = error_of(x.data(), got.data(), nullptr);
      EXPECT_GT(error, last) << group;  // larger groups err more
      EXPECT_LT(error, 0.02);
      last = error;
    }
  }
}

TEST(Encode, FloatsRoundToNearestAndSaturate) {
  std::vector<float> x(kCols, 0.0f);
  const float values[] = {1.00390625f, 1.01171875f, 3.4e38f, -3.4e38f, 1.0f / 3};
  std::copy(std::begin(values), std::end(values), x.begin());
  const auto bf16 = decode(Format::bf16, encode(Format::bf16, x));
  EXPECT_EQ(bf16[0], 1.0f);  // halfway: to even
  EXPECT_EQ(bf16[1], 1.015625f);
  EXPECT_EQ(bf16[2], 0x1.fep127f);
  EXPECT_EQ(bf16[3], -0x1.fep127f);
  const auto f16 = decode(Format::f16, encode(Format::f16, x));
  EXPECT_EQ(f16[2], 65504.0f);
  EXPECT_EQ(f16[3], -65504.0f);
  EXPECT_EQ(decode(Format::f32, encode(Format::f32, x)), x);
}

TEST(Encode, KnowsWhatItCanEncode) {
  EXPECT_EQ(encodable().size(), 17u);
  EXPECT_TRUE(can_encode(Format::iq4_xs));
  EXPECT_FALSE(can_encode(Format::iq1_s));
  EXPECT_FALSE(can_encode(Format::fp8_e4m3));
  const std::vector<float> x(kCols, 1.0f);
  std::vector<std::byte> out(4096);
  EXPECT_DEATH(encode_rows(Format::q4_k, {}, x.data(), 1, 128, nullptr, {out.data()}), "block_values");
  EXPECT_DEATH(encode_rows(Format::affine4, {ScaleType::bf16, 1, 48, 0}, x.data(), 1, kCols, nullptr,
                           {out.data(), out.data(), out.data()}),
               "group_cols");
}

}  // namespace
}  // namespace flashmoe
