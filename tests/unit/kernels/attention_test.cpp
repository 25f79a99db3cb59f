#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/f16.h"
#include "support/kernel_cases.h"

namespace flashmoe {
namespace {

constexpr int64_t kExtra = 2;  // tiles of other heads between those of this one

size_t index(KvFormat format) { return static_cast<size_t>(format); }

// Queries, keys and values [n, d_head] of one head, and their tiles in every format.
struct Inputs {
  int64_t d_head, n_queries, n_positions;
  std::vector<float> q, k, v;
  std::vector<int8_t> q8;
  std::vector<float> q8_scale;
  std::vector<std::byte> keys[kKvFormatCount], values[kKvFormatCount];

  Inputs(int64_t d, int64_t queries, int64_t positions, uint32_t seed, float sharpness)
      : d_head(d), n_queries(queries), n_positions(positions) {
    std::mt19937 random(seed);
    q = random_floats(random, n_queries * d, sharpness);
    k = random_floats(random, n_positions * d);
    v = random_floats(random, n_positions * d);
    for (std::vector<float>* values_ : {&k, &v}) {  // halves exactly, so that f16 and f32 see the same numbers
      for (float& value : *values_) value = f16_to_f32(f32_to_f16(value));
    }
    quantise_queries();
    for (const KvFormat format : {KvFormat::f16, KvFormat::f32, KvFormat::q8}) store(format);
  }
  int64_t key_stride(KvFormat format) const { return (1 + kExtra) * key_tile_bytes(format, d_head); }
  int64_t value_stride(KvFormat format) const { return (1 + kExtra) * value_tile_bytes(format, d_head); }
  void quantise_queries() {
    if (d_head % kActivationBlock != 0) return;
    std::vector<float> sums(q.size() / kActivationBlock);
    q8.resize(q.size());
    q8_scale.resize(sums.size());
    best_kernels().quantise_activations(q.data(), n_queries, d_head, q8.data(), q8_scale.data(), sums.data());
  }
  void store(KvFormat format) {
    if (format == KvFormat::q8 && d_head % kActivationBlock != 0) return;
    const auto n_tiles = static_cast<size_t>((n_positions + kKvReadable - 1) / kKvReadable * kKvReadable / kKvTile);
    auto &to_keys = keys[index(format)], &to_values = values[index(format)];
    // What lies beyond the last position must not matter: NaN in every format.
    to_keys.assign(n_tiles * static_cast<size_t>(key_stride(format)), std::byte{0xff});
    to_values.assign(n_tiles * static_cast<size_t>(value_stride(format)), std::byte{0xff});
    for (int64_t p = 0; p < n_positions; ++p) {
      put_in_tile(best_kernels(), format, d_head, p % kKvTile, k.data() + p * d_head, v.data() + p * d_head,
                  to_keys.data() + p / kKvTile * key_stride(format),
                  to_values.data() + p / kKvTile * value_stride(format));
    }
  }
};

// [n_queries, d_head], span by span.
std::vector<float> run(const KernelTable& table, const Inputs& in, KvFormat format) {
  const auto n = static_cast<size_t>(in.n_queries);
  std::vector<float> out(in.q.size() + 1, NAN), largest(n), total(n), later_out(in.q.size()), later_largest(n),
      later_total(n);
  AttentionSpan s;
  s.d_head = in.d_head;
  s.n_queries = in.n_queries;
  s.q = in.q.data();
  s.q8 = in.q8.data();
  s.q8_scale = in.q8_scale.data();
  s.key_stride = in.key_stride(format);
  s.value_stride = in.value_stride(format);
  s.scale = 1 / std::sqrt(static_cast<float>(in.d_head));
  s.sums = out.data();
  s.sums_stride = in.n_queries * in.d_head;
  s.largest = largest.data();
  s.total = total.data();
  for (int64_t first = 0; first < in.n_positions; first += kAttentionSpan) {
    AttentionSpan span = s;
    span.n_positions = std::min(kAttentionSpan, in.n_positions - first);
    span.keys = in.keys[index(format)].data() + first / kKvTile * s.key_stride;
    span.values = in.values[index(format)].data() + first / kKvTile * s.value_stride;
    if (first > 0) {
      span.sums = later_out.data();
      span.largest = later_largest.data();
      span.total = later_total.data();
    }
    table.attention[index(format)](span);
    if (first > 0) table.attention_merge(s, span);
  }
  table.attention_finish(s);
  EXPECT_TRUE(std::isnan(out.back()));
  out.pop_back();
  return out;
}

// The definition, with all scores at once.
double naive(const Inputs& in, int64_t query, int64_t dim) {
  std::vector<double> scores;
  for (int64_t p = 0; p < in.n_positions; ++p) {
    double dot = 0;
    for (int64_t j = 0; j < in.d_head; ++j) {
      dot += double{in.q[static_cast<size_t>(query * in.d_head + j)]} * in.k[static_cast<size_t>(p * in.d_head + j)];
    }
    scores.push_back(dot / std::sqrt(static_cast<double>(in.d_head)));
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double total = 0, sum = 0;
  for (int64_t p = 0; p < in.n_positions; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p)] - largest);
    total += weight;
    sum += weight * in.v[static_cast<size_t>(p * in.d_head + dim)];
  }
  return sum / total;
}

class AttentionKernels : public testing::TestWithParam<const KernelTable*> {};

TEST_P(AttentionKernels, AgreeWithTheDefinition) {
  for (const int64_t d_head : {8, 20, 64}) {
    for (const int64_t n_queries : {1, 4, 13}) {
      for (const int64_t n_positions : {1, 2, 63, 64, 65, 200, 1100}) {
        const Inputs in(d_head, n_queries, n_positions, 43, n_positions == 65 ? 40.0f : 1.0f);
        for (const KvFormat format : {KvFormat::f16, KvFormat::f32}) {
          const std::vector<float> out = run(*GetParam(), in, format);
          for (int64_t query = 0; query < n_queries; query += 3) {
            for (int64_t dim = 0; dim < d_head; dim += 7) {
              ASSERT_NEAR(out[static_cast<size_t>(query * d_head + dim)], naive(in, query, dim), 3e-5)
                  << d_head << " " << n_queries << " " << n_positions << " format " << index(format);
            }
          }
        }
      }
    }
  }
}

TEST_P(AttentionKernels, Int8AgreesWithScalarAndComesNearTheDefinition) {
  const KernelTable& scalar = **kernels_by_name("scalar");
  for (const int64_t d_head : {32, 96, 256}) {
    for (const int64_t n_positions : {1, 2, 63, 64, 65, 200, 530}) {
      const Inputs in(d_head, 13, n_positions, 59, 3.0f);
      const std::vector<float> out = run(*GetParam(), in, KvFormat::q8), expected = run(scalar, in, KvFormat::q8);
      // Each of a block's 64 weights is off by at most half of 1/32767 of the largest, each value at most 5 or so.
      for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], 1e-3) << d_head << " " << n_positions;
      for (int64_t dim = 0; dim < d_head; dim += 7) {
        ASSERT_NEAR(out[static_cast<size_t>(dim)], naive(in, 0, dim), 4e-2) << d_head << " " << n_positions;
      }
    }
  }
}

TEST_P(AttentionKernels, HoldScoresOfAnySize) {
  Inputs in(32, 2, 70, 47, 1.0f);
  for (float& value : in.q) value *= 3000;  // differences beyond the range of exp
  in.quantise_queries();
  const std::vector<float> out = run(*GetParam(), in, KvFormat::f32);
  for (int64_t dim = 0; dim < 32; ++dim) EXPECT_NEAR(out[static_cast<size_t>(dim)], naive(in, 0, dim), 1e-3);
  for (const float value : run(*GetParam(), in, KvFormat::q8)) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionKernels, ZeroKeysAndValuesGiveZero) {
  Inputs in(32, 3, 40, 61, 1.0f);
  std::fill(in.k.begin(), in.k.end(), 0.0f);
  std::fill(in.v.begin(), in.v.end(), 0.0f);
  in.store(KvFormat::q8);
  for (const float value : run(*GetParam(), in, KvFormat::q8)) EXPECT_EQ(value, 0.0f);
}

TEST_P(AttentionKernels, AQueryHasTheSameBitsInAnyGroup) {
  for (const KvFormat format : {KvFormat::f16, KvFormat::f32, KvFormat::q8}) {
    const Inputs in(64, 15, 530, 53, 1.0f);
    Inputs one = in;
    one.n_queries = 1;
    const std::vector<float> together = run(*GetParam(), in, format);
    for (size_t query = 0; query < 15; ++query) {
      const auto first = static_cast<std::ptrdiff_t>(query * 64);
      one.q.assign(in.q.begin() + first, in.q.begin() + first + 64);
      one.quantise_queries();
      const std::vector<float> alone = run(*GetParam(), one, format);
      EXPECT_EQ(0, std::memcmp(alone.data(), together.data() + query * 64, 64 * sizeof(float))) << query;
    }
  }
}

// Rows [first, first + n_rows) of those whose queries `in` holds, the first of all at n_positions, over one span: their
// sums, then largest and total.
std::vector<float> run_rows(const KernelTable& table, const Inputs& in, KvFormat format, int64_t group,
                            int64_t n_positions, int64_t first, int64_t n_rows) {
  const int64_t width = group * in.d_head, stride = width + 5, query = first * group;
  std::vector<float> sums(static_cast<size_t>(n_rows * stride)), largest(static_cast<size_t>(n_rows * group)),
      total(largest);
  AttentionSpan s;
  s.n_rows = n_rows;
  s.n_positions = std::min(n_positions + first, kAttentionSpan);
  s.d_head = in.d_head;
  s.n_queries = group;
  s.q = in.q.data() + query * in.d_head;
  s.q8 = in.q8.data() + query * in.d_head;
  s.q8_scale = in.q8_scale.data() + query * in.d_head / kActivationBlock;
  s.key_stride = in.key_stride(format);
  s.value_stride = in.value_stride(format);
  s.keys = in.keys[index(format)].data();
  s.values = in.values[index(format)].data();
  s.scale = 0.125f;
  s.sums = sums.data();
  s.sums_stride = stride;
  s.largest = largest.data();
  s.total = total.data();
  table.attention[index(format)](s);
  std::vector<float> out;
  for (int64_t row = 0; row < n_rows; ++row) {
    out.insert(out.end(), sums.begin() + row * stride, sums.begin() + row * stride + width);
    out.insert(out.end(), largest.begin() + row * group, largest.begin() + (row + 1) * group);
    out.insert(out.end(), total.begin() + row * group, total.begin() + (row + 1) * group);
  }
  return out;
}

// Rows whose last positions lie in one block or in two, and at the end of the span.
TEST_P(AttentionKernels, ARowHasTheSameBitsAmongOthersWhateverTheySeeBeyondIt) {
  constexpr int64_t kRows = 11, kDims = 32;
  for (const KvFormat format : {KvFormat::f16, KvFormat::f32, KvFormat::q8}) {
    for (const int64_t group : {1, 2, 3, 8}) {
      for (const int64_t n_positions : {1, 57, 64, 127, 505, 512}) {
        Inputs in(kDims, kRows * group, n_positions + kRows, 67, 1.0f);
        for (int64_t row = kRows - 1; row >= 0; --row) {
          const int64_t n = std::min(n_positions + row, kAttentionSpan);
          std::fill(in.v.begin() + n * kDims, in.v.end(), INFINITY);
          in.store(format);
          const std::vector<float> alone = run_rows(*GetParam(), in, format, group, n_positions, row, 1);
          const std::vector<float> all = run_rows(*GetParam(), in, format, group, n_positions, 0, kRows);
          const size_t at = static_cast<size_t>(row) * alone.size();
          ASSERT_TRUE(std::isfinite(alone.front()));
          ASSERT_EQ(0, std::memcmp(alone.data(), all.data() + at, alone.size() * sizeof(float)))
              << "format " << index(format) << ", " << group << " queries, row " << row << " of " << n_positions;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, AttentionKernels, testing::ValuesIn(available_tables()),
                         [](const auto& param) { return param.param->name; });

}  // namespace
}  // namespace flashmoe
