// The arithmetic of a forecast: from what was measured to tokens a second.
#pragma once

#include "flashmoe/forecast.h"

namespace flashmoe {

struct ForecastModel {
  int n_layers = 0, n_experts = 0, n_used = 0;
  double bytes_per_expert = 0;
  double shared_expert_s = 0;  // part of trunk_s that runs while experts are read
  // What benchmarks had, with about as many experts in the cache as there will be. 0: not known.
  double compute_s = 0, computed_hit_rate = 0;  // of a decoded token, all but waiting for reads, where so many hit
  double prefill_compute_s = 0;                 // of a prompt's token
  double waited_share = 0;  // waiting for a decoded token's reads, by the time they take at the drive's speed
};

// Hit rate of the expert cache in decode when it holds `share` of all experts, for a model of which nothing is known:
// the mean of two recorded routings (docs/decisions/0006), between which real models lie within some 10 points.
double usual_hit_rate(double share);

// Seconds by which a layer's reads outlast what is computed meanwhile, if each pick hits with `hit_rate`, whatever the
// others do. What arrived last is computed after its arrival.
double disk_wait_of_layer(const ForecastModel& model, const Speeds& speeds, double hit_rate);

// Experts that n tokens of text pick at least once in a layer, on average: as many as n^0.7 tokens would that pick
// evenly and whatever the others do (docs/experiments/0028).
double distinct_experts(const ForecastModel& model, double n_tokens);

// Times of reading 0, 1, 2, ... experts without what disturbed them: reading more cannot take less.
std::vector<double> undisturbed(std::vector<double> burst_s);

// The first, with the lower of both times for each kind of matrix.
Speeds with_faster_matrices(Speeds first, const Speeds& second);

// Fills in what follows from plan, speeds, cache_share and hit_rate, for prefill steps of so many rows.
void complete(Forecast& forecast, const ForecastModel& model, double prefill_rows);

}  // namespace flashmoe
