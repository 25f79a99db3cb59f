// What a router picks, kept in memory while it runs: how often would caches of other sizes have hit?
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/bench_record.h"
#include "experts/routing_trace.h"
#include "model/batch.h"
#include "model/step.h"

namespace flashmoe {

class PickLog final : public Observer {
 public:
  // Of a model with these experts, read at multiples of `alignment`. Keeps kMostBytes at most: what comes later is not
  // looked at.
  PickLog(const ExpertTable& experts, uint32_t alignment);
  static constexpr size_t kMostBytes = 8 << 20;

  void began(const Batch& batch) override;
  void routed(int layer, std::span<const int32_t> experts, std::span<const float> weights) override;
  void hidden(int index, std::span<const float> x) override;
  bool wants_all_rows() const override { return false; }

  // What was picked before only warms the caches up.
  void count_from_here() { n_warming_ = steps_.size(); }
  // Of decoding since then, in caches that were full at the start, with nothing read ahead. Shares of all experts that
  // are less than the engine runs with are left out; so are all, while nothing was decoded. Throws Error{interrupted}.
  std::vector<BenchPoint> hit_rates(std::span<const double> shares, const std::function<bool()>& keep_going = {}) const;

 private:
  void fill_up();
  CacheStats replay(double share, const std::function<bool()>& keep_going) const;

  TraceHeader header_;
  TraceStep step_;
  std::string block_;
  std::vector<std::string> steps_;  // encoded
  size_t n_bytes_ = 0;              // of them
  bool full_ = false;
  size_t n_warming_ = 0;
};

}  // namespace flashmoe
