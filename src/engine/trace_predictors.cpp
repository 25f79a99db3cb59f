#include "engine/trace_predictors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace flashmoe {
namespace {

constexpr size_t kCoOccurrenceBytes = size_t{192} << 20;  // of counts at most

class Temporal final : public Predictor {
 public:
  explicit Temporal(const TraceHeader& header) : last_(header) {}
  const char* name() const override { return "temporal"; }
  // A decoded step has a row of each of its runs.
  void predict(const TraceStep& step, size_t row, size_t layer, std::vector<int32_t>& experts) override {
    const auto picks = last_.picks(step.runs[row].sequence, layer);
    experts.assign(picks.begin(), picks.end());
  }
  void passed(const TraceStep& step) override { last_.passed(step); }

 private:
  LastTokens last_;
};

class CoOccurrence final : public Predictor {
 public:
  explicit CoOccurrence(const TraceHeader& header)
      : n_layers_(static_cast<size_t>(header.n_layers)),
        n_experts_(static_cast<size_t>(header.n_experts)),
        n_used_(static_cast<size_t>(header.n_used)),
        known_(n_layers_ * n_experts_ * n_experts_ * sizeof(uint16_t) <= kCoOccurrenceBytes) {
    if (!known_) return;
    together_.assign(n_layers_ * n_experts_ * n_experts_, 0);
    alone_.assign(n_layers_ * n_experts_, 0);
    score_.resize(n_experts_);
    ranked_.resize(n_experts_);
  }
  const char* name() const override { return "co-occurrence"; }
  bool known() const override { return known_; }

  void learn(const TraceStep& step) override {
    if (!known_) return;
    for (size_t l = 0; l + 1 < n_layers_; ++l) {
      for (size_t row = 0; row < static_cast<size_t>(step.n_rows); ++row) {
        const auto next = picks_of(step, row, l + 1);
        for (const int32_t from : picks_of(step, row, l)) {
          const size_t at = l * n_experts_ + static_cast<size_t>(from);
          if (alone_[at] == UINT16_MAX) continue;  // enough was learnt
          ++alone_[at];
          for (const int32_t to : next) ++together_[at * n_experts_ + static_cast<size_t>(to)];
        }
      }
    }
  }

  void predict(const TraceStep& step, size_t token, size_t layer, std::vector<int32_t>& experts) override {
    experts.clear();
    if (layer == 0 || !known_) return;
    rows_.clear();
    for (const int32_t from : picks_of(step, token, layer - 1)) {
      const size_t row = (layer - 1) * n_experts_ + static_cast<size_t>(from);
      if (alone_[row] > 0) rows_.push_back({&together_[row * n_experts_], 1.0F / static_cast<float>(alone_[row])});
    }
    add_rows();
    // Scores are not negative: their bits are in their order. Among equals the lower number comes first.
    for (size_t e = 0; e < n_experts_; ++e) {
      ranked_[e] = uint64_t{std::bit_cast<uint32_t>(score_[e])} << 32 | (UINT32_MAX - static_cast<uint32_t>(e));
    }
    const auto end = ranked_.begin() + static_cast<std::ptrdiff_t>(n_used_);
    std::partial_sort(ranked_.begin(), end, ranked_.end(), std::greater<>());
    for (auto rank = ranked_.begin(); rank != end; ++rank) {
      experts.push_back(static_cast<int32_t>(UINT32_MAX - static_cast<uint32_t>(*rank)));
    }
  }

 private:
  std::span<const int32_t> picks_of(const TraceStep& step, size_t row, size_t layer) const {
    return std::span(step.layers[layer].experts).subspan(row * n_used_, n_used_);
  }

  struct Row {
    const uint16_t* counts;  // [n_experts]
    float scale;
  };
  // score_ from rows_, which come from far: all are asked for before the first is added.
  void add_rows() {
    constexpr size_t kLine = 64 / sizeof(uint16_t);
    for (const Row& row : rows_) {
      for (size_t e = 0; e < n_experts_; e += kLine) __builtin_prefetch(row.counts + e);
    }
    std::fill(score_.begin(), score_.end(), 0.0F);
    for (const Row& row : rows_) {
      for (size_t e = 0; e < n_experts_; ++e) score_[e] += row.scale * static_cast<float>(row.counts[e]);
    }
  }

  size_t n_layers_, n_experts_, n_used_;
  bool known_;
  std::vector<Row> rows_;
  std::vector<uint16_t> together_;  // [n_layers, n_experts, n_experts] tokens that picked both, here and a layer on
  std::vector<uint16_t> alone_;     // [n_layers, n_experts]
  std::vector<float> score_;
  std::vector<uint64_t> ranked_;  // [n_experts]
};

class NextRouter final : public Predictor {
 public:
  explicit NextRouter(const TraceHeader& header) : known_(header.has_guesses) {}
  const char* name() const override { return "next-layer router"; }
  bool known() const override { return known_; }
  void predict(const TraceStep& step, size_t, size_t layer, std::vector<int32_t>& experts) override {
    experts.clear();
    if (layer > 0) experts = step.layers[layer - 1].guesses;
  }

 private:
  bool known_;
};

bool has(std::span<const int32_t> list, int32_t expert) {
  return std::find(list.begin(), list.end(), expert) != list.end();
}

double ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Predictors are tried beside a cache that reads what is picked and nothing else.
TraceHeader without_read_ahead(TraceHeader header) {
  header.has_unasked = false;
  return header;
}

}  // namespace

std::vector<std::unique_ptr<Predictor>> all_predictors(const TraceHeader& header) {
  std::vector<std::unique_ptr<Predictor>> all;
  all.push_back(std::make_unique<Temporal>(header));
  all.push_back(std::make_unique<CoOccurrence>(header));
  all.push_back(std::make_unique<NextRouter>(header));
  return all;
}

PredictorTrials::PredictorTrials(const TraceHeader& header, const TraceTiming& timing,
                                 const std::vector<SlotClass>& classes, GivenBack given_back, double disk_gb_per_s,
                                 std::vector<std::unique_ptr<Predictor>> predictors)
    : header_(header),
      timing_(timing),
      disk_gb_per_s_(disk_gb_per_s),
      cache_(make_replay_cache(CachePolicy::two_timescale, without_read_ahead(header), classes, given_back, nullptr)),
      predictors_(std::move(predictors)),
      scores_(predictors_.size()),
      absent_(predictors_.size()) {
  if (disk_gb_per_s <= 0 || timing.expert_bytes <= 0 || !timing.known() || timing.n_decoded == 0) {
    disk_gb_per_s_ = 0;
    return;
  }
  const double layer_s = timing.compute_s / static_cast<double>(timing.n_decoded) / header.n_layers;
  n_in_time_ = static_cast<size_t>(std::lround(layer_s * disk_gb_per_s * 1e9 / timing.expert_bytes));
}

void PredictorTrials::feed(const TraceStep& step, bool test) {
  const bool judged = test && step.decode;
  for (size_t l = 0; l < step.layers.size(); ++l) {
    if (judged) predict(step, l);
    cache_->pick(step, l, missed_);
    if (step.decode) missed_.count(step.layers[l].distinct.size(), decode_);
    if (judged) judge(step, l);
  }
  n_tested_ += judged ? static_cast<uint64_t>(step.n_rows) : 0;
  if (!step.decode) return;
  for (const auto& predictor : predictors_) predictor->passed(step);
}

// What all rows together lack goes into absent_.
void PredictorTrials::predict(const TraceStep& step, size_t layer) {
  const auto n_used = static_cast<size_t>(header_.n_used);
  for (size_t p = 0; p < predictors_.size(); ++p) {
    std::vector<int32_t>& absent = absent_[p];
    absent.clear();
    for (size_t row = 0; row < static_cast<size_t>(step.n_rows); ++row) {
      const auto picks = std::span(step.layers[layer].experts).subspan(row * n_used, n_used);
      predictors_[p]->predict(step, row, layer, predicted_);
      for (const int32_t expert : predicted_) {
        scores_[p].n_caught += has(picks, expert) ? 1 : 0;
        if (!cache_->holds(static_cast<int>(layer), expert) && !has(absent, expert)) absent.push_back(expert);
      }
    }
  }
}

// Likeliest first, as many as can be read while the layer before is computed.
void PredictorTrials::judge(const TraceStep& step, size_t layer) {
  const size_t n_missed = missed_.absent.size();
  wait_s_ += timing_.wait(n_missed, 0, disk_gb_per_s_, timing_.expert_bytes);
  for (size_t p = 0; p < predictors_.size(); ++p) {
    Score& score = scores_[p];
    score.n_picks += step.layers[layer].experts.size();
    score.n_missing += n_missed;
    size_t n_in_time = 0, n_seen = 0;
    for (const int32_t expert : absent_[p]) {
      const bool missing = has(missed_.absent, expert);
      score.n_missing_caught += missing ? 1 : 0;
      n_in_time += missing && n_seen < n_in_time_ ? 1 : 0;
      ++n_seen;
    }
    score.wait_s += timing_.wait(n_missed - n_in_time, 0, disk_gb_per_s_, timing_.expert_bytes);
  }
}

std::vector<PredictorTrial> PredictorTrials::results() const {
  std::vector<PredictorTrial> results;
  const double compute_s = timing_.n_decoded == 0 ? 0
                                                  : timing_.compute_s / static_cast<double>(timing_.n_decoded) *
                                                        static_cast<double>(n_tested_);
  for (size_t p = 0; p < predictors_.size(); ++p) {
    const Score& score = scores_[p];
    PredictorTrial trial;
    trial.name = predictors_[p]->name();
    trial.known = predictors_[p]->known() && n_tested_ > 0;
    trial.caught = ratio(score.n_caught, score.n_picks);
    trial.caught_missing = ratio(score.n_missing_caught, score.n_missing);
    if (trial.known && disk_gb_per_s_ > 0) trial.faster = (compute_s + wait_s_) / (compute_s + score.wait_s);
    results.push_back(trial);
  }
  return results;
}

}  // namespace flashmoe
