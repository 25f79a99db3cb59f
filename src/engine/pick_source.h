// Picks for a benchmark: drawn, or what a run's router once picked.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experts/routing_trace.h"
#include "experts/source.h"

namespace flashmoe {

class PickSource {
 public:
  virtual ~PickSource() = default;
  // The next step's layers[].experts [n_rows, n_used] and its n_rows, one or more.
  virtual void next(TraceStep& step) = 0;
  virtual std::string description() const = 0;
  // How often it began anew.
  virtual uint64_t rounds() const { return 0; }
};

// One row a step, every expert as likely as any other.
std::unique_ptr<PickSource> draw_picks(const ExpertTable& table, int n_used, uint64_t seed);

// The best n_used picks of the trace's decoded tokens, in its own batches, again and again. Throws Error{input} for a
// trace of a model with other layers, experts or fewer picks, without decoded tokens, or with a step of more than
// `max_rows` rows.
std::unique_ptr<PickSource> replay_picks(const std::string& path, const ExpertTable& table, int n_used,
                                         int64_t max_rows);

}  // namespace flashmoe
