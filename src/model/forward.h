// One step of the model: rows of tokens in, final hidden states and logits out.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "model/delta_blocks.h"
#include "model/family.h"
#include "model/file_rows.h"
#include "model/sequence.h"
#include "model/step.h"

namespace flashmoe {

class Forward {
 public:
  // All references must outlive this object. One thread calls; the pool's threads help.
  Forward(const Family& family, const KernelTable& kernels, ThreadPool& pool, ExpertSource& experts, Workspace& ws,
          bool exact);

  // Runs `tokens` (1 to workspace max_rows) as the continuation of `sequence`, which grows by them. Logits are wanted
  // from row `first_wanted` on. When it throws (a failed read, an interruption), the sequence's state is undefined:
  // discard or restore it.
  void step(std::span<const int32_t> tokens, Sequence& sequence, int64_t first_wanted = 0);
  // The same for several sequences at once; the runs' positions must continue their sequences.
  void step(const Batch& batch);

  // Logits [n_rows, vocab_size] after wanted rows of the last step, n_rows <= kLogitRows. Valid until the next call.
  std::span<const float> logits(int64_t first_row, int64_t n_rows);

  int64_t max_rows() const { return step_.ws.shape().max_rows; }
  const ModelConfig& config() const { return family_.config(); }
  Profile& profile() { return profile_; }
  // Where rows of the embedding are read when a step needs them. Before the first step; never: memory has them all.
  void set_embedding(std::unique_ptr<FileRows> rows) { embedding_rows_ = std::move(rows); }
  // Which tokens end blocks; those of the model's tokenizer. Before the first step.
  void set_blocks(DeltaBlocks blocks) { blocks_ = std::move(blocks); }
  const DeltaBlocks& blocks() const { return blocks_; }
  void set_observer(Observer* observer) { step_.observer = observer; }
  // Called before every layer of every step; may throw to end the step. May be empty.
  void set_before_layer(std::function<void(int layer)> before_layer) { before_layer_ = std::move(before_layer); }

 private:
  void cut_into_blocks(const Batch& batch);
  void list_wanted_rows(const Batch& batch);

  const Family& family_;
  std::unique_ptr<FileRows> embedding_rows_;
  DeltaBlocks blocks_;
  Profile profile_;
  Step step_;
  std::function<void(int)> before_layer_;
};

}  // namespace flashmoe
