// What every stage of a step works with.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "experts/source.h"
#include "model/batch.h"
#include "model/config.h"
#include "model/profile.h"
#include "model/workspace.h"

namespace flashmoe {

// Looks over a step's shoulder: golden tests, routing traces and calibration. Called on the thread of the step.
class Observer {
 public:
  virtual ~Observer() = default;
  // x [n, d_model]: index 0 after the embedding, i after layer i - 1; the last is final-normed.
  virtual void hidden(int index, std::span<const float> x) { (void)index, (void)x; }
  // experts and weights [n, k], best first.
  virtual void routed(int layer, std::span<const int32_t> experts, std::span<const float> weights) {
    (void)layer, (void)experts, (void)weights;
  }
  // Every matmul but gate and up of routed experts, before it is computed.
  virtual void multiplied(const MatrixView& w, const Activations& x) { (void)w, (void)x; }
  // What an expert read: these rows of x by gate and up, act by down.
  virtual void expert_read(int layer, int expert, const ActivationBuffer& x, std::span<const int32_t> rows,
                           const Activations& act) {
    (void)layer, (void)expert, (void)x, (void)rows, (void)act;
  }
  // A step begins.
  virtual void began(const Batch& batch) { (void)batch; }
  // The router's logits [n, n_experts]; before routed().
  virtual void scored(int layer, std::span<const float> logits) { (void)layer, (void)logits; }
  // A wave of the picked experts, in ascending order, was asked for; how they were found, if the source tells.
  virtual void fetched(int layer, std::span<const Outcome> outcomes) { (void)layer, (void)outcomes; }
  // The layer's picks are computed, and may be evicted from now on.
  virtual void computed(int layer) { (void)layer; }
  // Picks of this layer were guessed while the one before it was computed, likeliest first.
  virtual void guessed(int layer, std::span<const int32_t> experts) { (void)layer, (void)experts; }
  // Guesses are wanted even where nothing is read ahead.
  virtual bool wants_guesses() const { return false; }
  // Every row is to go through the whole of the last layer, also those that only enter their sequences.
  virtual bool wants_all_rows() const { return true; }
};

// Neighbouring rows of a run that belong to one block of the delta rule.
struct DeltaPiece {
  int64_t first_row = 0, n_rows = 0;
  int64_t n_before = 0;  // tokens of the block that came in earlier steps
  bool ends = false;     // the block, with its last row
  bool whole() const { return n_before == 0 && ends; }
};

// Rows of a batch that logits are wanted after, in order: indices into the batch.
struct WantedRows {
  std::vector<int32_t> rows;
  // The batch once it has narrowed to them.
  std::vector<int32_t> tokens;
  std::vector<Run> runs;
};

struct Step {
  const ModelConfig& config;
  const KernelTable& kernels;
  ThreadPool& pool;
  ExpertSource& experts;
  Workspace& ws;
  Profile& profile;
  Observer* observer = nullptr;
  bool exact = false;
  Batch batch;
  std::vector<DeltaPiece> pieces = {};  // of all runs, in order
  WantedRows wanted = {};

  int64_t n() const { return batch.n(); }
  // Some rows only enter their sequences: the last layer has no more to do with them.
  bool narrows() const { return static_cast<int64_t>(wanted.rows.size()) < n(); }
};

}  // namespace flashmoe
