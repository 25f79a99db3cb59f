#include "engine/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace flashmoe {
namespace {

struct CurvePoint {
  double share, hit_rate;
};

// Kimi Linear and OLMoE, 300 tokens each: up to 30 % this cache's own figures (docs/decisions/0006), at 50 % those of
// LFU with decay, which differs by a point or two.
constexpr std::array<CurvePoint, 7> kUsual = {
    {{0, 0}, {0.05, 0.34}, {0.10, 0.48}, {0.20, 0.63}, {0.30, 0.72}, {0.50, 0.84}, {1, 1}}};

// Of two recorded routings, windows of 4 to 128 tokens: 0.71 to 0.75 and 0.60 to 0.72; picking evenly would be 1.
constexpr double kAlike = 0.7;

// A record that is missed takes computing, too: it is asked for, the drive writes it to memory, and it is read and
// written once more to be rearranged. Benchmarks of a 35B-shaped model within 4, 8 and 12 GiB differ by three to eight
// times their bytes at the speed of memory (docs/experiments/0041).
constexpr double kTimesThroughMemory = 4;
constexpr double kLeastOfComputing = 0.5;  // of a measured time is left without its misses, however slow memory is now

// Of a decoded token of which so many picks hit: what a benchmark had, or what the matrices take, and what the misses
// take that it did not have.
double compute_seconds(const Speeds& s, const ForecastModel& model, double hit_rate) {
  const bool known = model.compute_s > 0;
  const int n_picks = model.n_layers * model.n_used;
  const double before_s = known ? model.compute_s : s.trunk_s + n_picks * s.expert_s;
  const double more_misses = n_picks * ((known ? model.computed_hit_rate : 1) - hit_rate);
  const double missing_s = kTimesThroughMemory * more_misses * model.bytes_per_expert / (s.roofs.ram_gb_per_s * 1e9);
  return std::max(before_s + missing_s, kLeastOfComputing * before_s);
}

// What a step of a prompt takes. Experts hide reads of their layer, and the trunk those of the next one, which is
// guessed by then (model/stages/guess.h).
double prefill_seconds(const Speeds& s, const ForecastModel& model, double rows, double read_s) {
  const double distinct = distinct_experts(model, rows);
  const double products_s = s.prefill_trunk_s + model.n_layers * distinct * s.prefill_expert_s;
  const double compute_s = model.prefill_compute_s > 0 ? model.prefill_compute_s * rows : products_s;
  return std::max(compute_s, read_s);
}

}  // namespace

double usual_hit_rate(double share) {
  for (size_t i = 1; i < kUsual.size(); ++i) {
    const CurvePoint &a = kUsual[i - 1], &b = kUsual[i];
    if (share > b.share) continue;
    return a.hit_rate + (b.hit_rate - a.hit_rate) * (std::max(share, 0.0) - a.share) / (b.share - a.share);
  }
  return 1;
}

double disk_wait_of_layer(const ForecastModel& model, const Speeds& speeds, double hit_rate) {
  const int k = model.n_used;
  const double meanwhile = model.shared_expert_s + k * speeds.expert_s;
  double wait = 0;
  double ways = 1;  // k over m
  for (int m = 0; m <= k; ++m) {
    const double chance = ways * std::pow(1 - hit_rate, m) * std::pow(hit_rate, k - m);
    if (m > 0) {
      const double read_s = speeds.burst_s[static_cast<size_t>(m)] + speeds.expert_s;
      wait += chance * std::max(0.0, read_s - meanwhile);
    }
    ways *= static_cast<double>(k - m) / static_cast<double>(m + 1);
  }
  return wait;
}

double distinct_experts(const ForecastModel& model, double n_tokens) {
  const double all = model.n_experts;
  return all * (1 - std::pow(1 - model.n_used / all, std::pow(n_tokens, kAlike)));
}

std::vector<double> undisturbed(std::vector<double> burst_s) {
  for (size_t m = burst_s.size(); m-- > 1;) burst_s[m - 1] = std::min(burst_s[m - 1], burst_s[m]);
  return burst_s;
}

Speeds with_faster_matrices(Speeds first, const Speeds& second) {
  const auto lower = [](double& a, double b) { a = std::min(a, b); };
  lower(first.trunk_s, second.trunk_s);
  lower(first.expert_s, second.expert_s);
  lower(first.prefill_trunk_s, second.prefill_trunk_s);
  lower(first.prefill_expert_s, second.prefill_expert_s);
  return first;
}

void complete(Forecast& f, const ForecastModel& model, double rows) {
  const Speeds& s = f.speeds;
  f.compute_s = compute_seconds(s, model, f.hit_rate);
  if (f.plan.experts_resident) {
    f.decode_warm = f.decode_cold = 1 / f.compute_s;
    f.prefill = rows / prefill_seconds(s, model, rows, 0);
    return;
  }
  const double disk_bytes_per_s = s.roofs.disk_gb_per_s * 1e9;
  f.bytes_missed_per_token = (1 - f.hit_rate) * model.n_layers * model.n_used * model.bytes_per_expert;
  f.disk_wait_s = model.waited_share > 0 ? model.waited_share * f.bytes_missed_per_token / disk_bytes_per_s
                                         : model.n_layers * disk_wait_of_layer(model, s, f.hit_rate);
  f.decode_warm = 1 / (f.compute_s + f.disk_wait_s);
  const double cold_wait_s = std::max(model.n_layers * disk_wait_of_layer(model, s, 0), f.disk_wait_s);
  f.decode_cold = 1 / (compute_seconds(s, model, 0) + cold_wait_s);
  const double missed = model.n_layers * distinct_experts(model, rows) * (1 - f.cache_share);
  f.prefill = rows / prefill_seconds(s, model, rows, missed * model.bytes_per_expert / disk_bytes_per_s);
}

}  // namespace flashmoe
