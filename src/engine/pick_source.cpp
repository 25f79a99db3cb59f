#include "engine/pick_source.h"

#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "experts/trace_reader.h"

namespace flashmoe {
namespace {

class DrawnPicks final : public PickSource {
 public:
  DrawnPicks(const ExpertTable& table, int n_used, uint64_t seed)
      : n_layers_(static_cast<size_t>(table.n_layers)),
        n_used_(static_cast<size_t>(n_used)),
        seed_(seed),
        random_(seed),
        order_(static_cast<size_t>(table.n_experts)) {
    std::iota(order_.begin(), order_.end(), 0);
  }

  void next(TraceStep& step) override {
    step.n_rows = 1;
    step.layers.resize(n_layers_);
    for (TraceLayer& layer : step.layers) {
      // The first cards of a pack that stays shuffled.
      for (size_t i = 0; i < n_used_; ++i) std::swap(order_[i], order_[i + random_.below(order_.size() - i)]);
      layer.experts.assign(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(n_used_));
    }
  }
  std::string description() const override { return fmt::format("drawn, all experts alike, seed {}", seed_); }

 private:
  size_t n_layers_, n_used_;
  uint64_t seed_;
  SplitMix random_;
  std::vector<int32_t> order_;
};

class ReplayedPicks final : public PickSource {
 public:
  ReplayedPicks(const std::string& path, const ExpertTable& table, int n_used, int64_t max_rows)
      : path_(path), trace_(open_trace(path)), n_used_(static_cast<size_t>(n_used)), max_rows_(max_rows) {
    const TraceHeader& h = trace_->header();
    // A list of picks knows only the largest number that occurs.
    if (h.n_layers != table.n_layers || h.n_experts > table.n_experts || h.n_used < n_used) {
      fail(Fault::input, "{}: {} picks of {} experts in {} layers, but the benchmark needs {} of {} in {}", path,
           h.n_used, h.n_experts, h.n_layers, n_used, table.n_experts, table.n_layers);
    }
    if (trace_->end().n_decoded == 0) fail(Fault::input, "{}: this routing trace has no decoded tokens", path);
  }

  void next(TraceStep& step) override {
    do {
      if (trace_->next(step)) continue;
      ++rounds_;
      trace_->rewind();
      trace_->next(step);
    } while (!step.decode);
    if (step.n_rows > max_rows_) {
      fail(Fault::input, "{}: a step of {} rows; {} at most can be computed together", path_, step.n_rows, max_rows_);
    }
    const auto in_trace = static_cast<size_t>(trace_->header().n_used);
    if (in_trace == n_used_) return;
    for (TraceLayer& layer : step.layers) {
      for (size_t row = 0; row < static_cast<size_t>(step.n_rows); ++row) {
        const int32_t* best = &layer.experts[row * in_trace];
        std::copy(best, best + n_used_, &layer.experts[row * n_used_]);
      }
      layer.experts.resize(static_cast<size_t>(step.n_rows) * n_used_);
    }
  }
  std::string description() const override { return "of " + path_; }
  uint64_t rounds() const override { return rounds_; }

 private:
  std::string path_;
  std::unique_ptr<TraceReader> trace_;
  size_t n_used_;
  int64_t max_rows_;
  uint64_t rounds_ = 0;
};

}  // namespace

std::unique_ptr<PickSource> draw_picks(const ExpertTable& table, int n_used, uint64_t seed) {
  return std::make_unique<DrawnPicks>(table, n_used, seed);
}

std::unique_ptr<PickSource> replay_picks(const std::string& path, const ExpertTable& table, int n_used,
                                         int64_t max_rows) {
  return std::make_unique<ReplayedPicks>(path, table, n_used, max_rows);
}

}  // namespace flashmoe
