#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/tables.h"
#include "quant/f16.h"

namespace flashmoe::scalar {
namespace {

double as_double(float value) { return value; }
double as_double(uint16_t half) { return f16_to_f32(half); }

// What a position of a span holds, by format.
template <typename Stored>
struct Tiles {
  const AttentionSpan& span;
  const std::byte* key_tile(int64_t p) const { return span.keys + p / kKvTile * span.key_stride; }
  const std::byte* value_tile(int64_t p) const { return span.values + p / kKvTile * span.value_stride; }

  // h counts the query heads of all rows
  double query(int64_t h, int64_t j) const { return span.q[h * span.d_head + j]; }
  double key(int64_t p, int64_t j) const {
    return as_double(reinterpret_cast<const Stored*>(key_tile(p))[j * kKvTile + p % kKvTile]);
  }
  double value(int64_t p, int64_t j) const {
    return as_double(reinterpret_cast<const Stored*>(value_tile(p))[p % kKvTile * span.d_head + j]);
  }
};

template <>
double Tiles<int8_t>::query(int64_t h, int64_t j) const {
  const int64_t at = h * span.d_head + j;
  return double{span.q8_scale[at / kKvScaleDims]} * span.q8[at];
}
template <>
double Tiles<int8_t>::key(int64_t p, int64_t j) const {
  const std::byte* tile = key_tile(p);
  const auto* scales = reinterpret_cast<const float*>(tile + kKvTile * span.d_head);
  const int64_t at = j / 4 * 4 * kKvTile + p % kKvTile * 4 + j % 4;
  return double{scales[j / kKvScaleDims * kKvTile + p % kKvTile]} * (reinterpret_cast<const uint8_t*>(tile)[at] - 128);
}
template <>
double Tiles<int8_t>::value(int64_t p, int64_t j) const {
  const std::byte* tile = value_tile(p);
  const auto* scales = reinterpret_cast<const float*>(tile + kKvTile * span.d_head);
  const int64_t at = p % kKvTile / 2 * 2 * span.d_head + 2 * j + p % 2;
  return double{scales[p % kKvTile]} * reinterpret_cast<const int8_t*>(tile)[at];
}

float* sums_of(const AttentionSpan& span, int64_t h) {
  return span.sums + h / span.n_queries * span.sums_stride + h % span.n_queries * span.d_head;
}

template <typename Stored>
void attention(const AttentionSpan& span) noexcept {
  const Tiles<Stored> tiles{span};
  for (int64_t h = 0; h < span.n_rows * span.n_queries; ++h) {
    const int64_t n_positions = std::min(span.n_positions + h / span.n_queries, kAttentionSpan);
    double scores[kAttentionSpan];
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t p = 0; p < n_positions; ++p) {
      double dot = 0;
      for (int64_t j = 0; j < span.d_head; ++j) dot += tiles.query(h, j) * tiles.key(p, j);
      scores[p] = dot * span.scale;
      largest = std::max(largest, scores[p]);
    }
    for (int64_t p = 0; p < n_positions; ++p) total += scores[p] = std::exp(scores[p] - largest);
    float* sums = sums_of(span, h);
    for (int64_t j = 0; j < span.d_head; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < n_positions; ++p) sum += scores[p] * tiles.value(p, j);
      sums[j] = static_cast<float>(sum);
    }
    span.largest[h] = static_cast<float>(largest);
    span.total[h] = static_cast<float>(total);
  }
}

void attention_merge(const AttentionSpan& into, const AttentionSpan& later) noexcept {
  for (int64_t h = 0; h < into.n_rows * into.n_queries; ++h) {
    const float largest = std::max(into.largest[h], later.largest[h]);
    const double ours = std::exp(double{into.largest[h]} - largest),
                 theirs = std::exp(double{later.largest[h]} - largest);
    into.largest[h] = largest;
    into.total[h] = static_cast<float>(ours * into.total[h] + theirs * later.total[h]);
    float* to = sums_of(into, h);
    const float* from = sums_of(later, h);
    for (int64_t j = 0; j < into.d_head; ++j) to[j] = static_cast<float>(ours * to[j] + theirs * from[j]);
  }
}

void attention_finish(const AttentionSpan& span) noexcept {
  for (int64_t h = 0; h < span.n_rows * span.n_queries; ++h) {
    float* to = sums_of(span, h);
    for (int64_t j = 0; j < span.d_head; ++j) to[j] /= span.total[h];
  }
}

}  // namespace

void set_attention(KernelTable& table) {
  table.attention[static_cast<int>(KvFormat::f16)] = attention<uint16_t>;
  table.attention[static_cast<int>(KvFormat::f32)] = attention<float>;
  table.attention[static_cast<int>(KvFormat::q8)] = attention<int8_t>;
  table.attention_merge = attention_merge;
  table.attention_finish = attention_finish;
}

}  // namespace flashmoe::scalar
