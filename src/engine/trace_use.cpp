#include "engine/trace_use.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace flashmoe {
namespace {

constexpr std::array<double, 3> kTopShares = {0.1, 0.2, 0.3};

double share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// `counts` in ascending order.
void describe_skew(const std::vector<uint64_t>& counts, LayerUse& use) {
  const auto n = static_cast<double>(counts.size());
  double all = 0, weighted = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    all += static_cast<double>(counts[i]);
    weighted += static_cast<double>(i + 1) * static_cast<double>(counts[i]);
    use.distinct += counts[i] > 0 ? 1 : 0;
  }
  if (all == 0) return;
  use.gini = 2 * weighted / (n * all) - (n + 1) / n;
  for (size_t t = 0; t < kTopShares.size(); ++t) {
    const auto n_top = static_cast<size_t>(std::ceil(kTopShares[t] * n));
    const auto top = std::accumulate(counts.end() - static_cast<std::ptrdiff_t>(n_top), counts.end(), uint64_t{0});
    use.top[t] = static_cast<double>(top) / all;
  }
}

// The distance that `part` of the counted picks do not exceed.
double percentile(std::span<const uint64_t> counts, double part) {
  const uint64_t all = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  uint64_t sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    sum += counts[i];
    if (static_cast<double>(sum) >= part * static_cast<double>(all)) return static_cast<double>(i);
  }
  return 0;
}

}  // namespace

UseOfExperts::UseOfExperts(const TraceHeader& header)
    : n_layers_(static_cast<size_t>(header.n_layers)),
      n_experts_(static_cast<size_t>(header.n_experts)),
      n_used_(static_cast<size_t>(header.n_used)),
      last_tokens_(header) {
  n_picks_.assign(n_layers_ * n_experts_, 0);
  last_token_.assign(n_layers_ * n_experts_, 0);
  reuse_.assign(n_layers_ * (kLongest + 1), 0);
  again_.assign(n_layers_, 0);
  next_layer_.assign(n_layers_, 0);
}

void UseOfExperts::note(const TraceStep& step) {
  size_t row = 0;
  for (const TraceRun& run : step.runs) {
    for (int i = 0; i < run.n_rows; ++i, ++row) {
      ++n_tokens_;
      for (size_t l = 0; l < n_layers_; ++l) {
        const std::span<const int32_t> all = step.layers[l].experts, picks = all.subspan(row * n_used_, n_used_);
        note_layer(l, picks, i > 0 ? all.subspan((row - 1) * n_used_, n_used_) : last_tokens_.picks(run.sequence, l));
      }
    }
  }
  last_tokens_.passed(step);
}

// `before`: of the token before in its sequence; empty when that is not known.
void UseOfExperts::note_layer(size_t layer, std::span<const int32_t> picks, std::span<const int32_t> before) {
  if (layer == 0 && !before.empty()) ++n_followers_;
  for (const int32_t expert : picks) {
    const size_t at = layer * n_experts_ + static_cast<size_t>(expert);
    ++n_picks_[at];
    const uint64_t last = last_token_[at];
    last_token_[at] = n_tokens_;
    if (last > 0) ++reuse_[layer * (kLongest + 1) + std::min<uint64_t>(n_tokens_ - last, kLongest)];
    again_[layer] += std::find(before.begin(), before.end(), expert) != before.end() ? 1 : 0;
    // This token has passed the layer before, but no later one.
    next_layer_[layer] += layer > 0 && last_token_[at - n_experts_] == n_tokens_ ? 1 : 0;
  }
}

std::vector<LayerUse> UseOfExperts::layers() const {
  std::vector<LayerUse> all(n_layers_);
  for (size_t l = 0; l < n_layers_; ++l) {
    std::vector<uint64_t> counts(n_picks_.begin() + static_cast<std::ptrdiff_t>(l * n_experts_),
                                 n_picks_.begin() + static_cast<std::ptrdiff_t>((l + 1) * n_experts_));
    std::sort(counts.begin(), counts.end());
    LayerUse& use = all[l];
    describe_skew(counts, use);
    const auto reuse = std::span(reuse_).subspan(l * (kLongest + 1), kLongest + 1);
    use.reuse_p50 = percentile(reuse, 0.5);
    use.reuse_p90 = percentile(reuse, 0.9);
    use.next_token = share(again_[l], n_followers_ * n_used_);
    if (l + 1 < n_layers_) use.next_layer = share(next_layer_[l + 1], n_tokens_ * n_used_);
  }
  return all;
}

std::vector<float> UseOfExperts::rates() const {
  std::vector<float> rates;
  for (const uint64_t n : n_picks_) rates.push_back(static_cast<float>(share(n, n_tokens_)));
  return rates;
}

LayerUse mean_of(const std::vector<LayerUse>& layers) {
  LayerUse mean;
  const auto n = static_cast<double>(layers.size());
  for (const LayerUse& use : layers) {
    mean.distinct += use.distinct / n;
    mean.gini += use.gini / n;
    for (size_t t = 0; t < mean.top.size(); ++t) mean.top[t] += use.top[t] / n;
    mean.reuse_p50 += use.reuse_p50 / n;
    mean.reuse_p90 += use.reuse_p90 / n;
    mean.next_token += use.next_token / n;
    if (use.next_layer) mean.next_layer = mean.next_layer.value_or(0) + *use.next_layer / (n - 1);
  }
  return mean;
}

}  // namespace flashmoe
