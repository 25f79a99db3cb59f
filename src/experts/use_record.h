// How a model's experts are used, in this run and in earlier ones, which a file tells of.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "experts/eviction.h"
#include "experts/source.h"

namespace flashmoe {

// Counts what a run picks.
class UseCount {
 public:
  explicit UseCount(const ExpertTable& table)
      : n_experts_(table.n_experts),
        n_used_(table.n_used),
        n_picked_(table.records.size()),
        n_ended_(static_cast<size_t>(table.n_layers)) {}
  void note(int layer, const Picks& picks);
  // So many tokens ended before the layer: its picks are of the others.
  void note_ended(int layer, int64_t n_rows) { n_ended_[static_cast<size_t>(layer)] += static_cast<double>(n_rows); }
  UseRates rates() const;

 private:
  int n_experts_, n_used_;
  std::vector<double> n_picked_;  // [n_layers, n_experts] rows
  std::vector<double> n_ended_;   // [n_layers] tokens
  double n_first_ = 0;            // picks of layer 0
};

// All experts, those with the highest of `rates` [n_layers, n_experts] first; in order where it is empty.
std::vector<ExpertId> most_used_first(int n_layers, int n_experts, std::span<const float> rates);

// What the file holds; nothing where there is none. One that is damaged or belongs to another model counts as none, and
// `note` tells.
UseRates load_use_rates(const std::string& path, int n_layers, int n_experts, std::string& note);

// Earlier runs and this one together, weighted by their tokens, layer by layer; the earlier ones by at most
// kRememberedTokens, so that new habits show.
inline constexpr double kRememberedTokens = 10'000;
UseRates joined(const UseRates& earlier, const UseRates& run);

// Moves a whole file into place, its folder made if need be. False where that fails.
bool save_use_rates(const std::string& path, const UseRates& use);

}  // namespace flashmoe
