// One sequence: how many tokens it has, and what its layers remember of them.
#pragma once

#include "model/delta_state.h"
#include "model/kv_cache.h"

namespace flashmoe {

class Sequence {
 public:
  Sequence(const ModelConfig& config, KvFormat format, int64_t context_tokens, Budget& budget)
      : context_tokens_(context_tokens), kv_(config, format, context_tokens, budget), delta_(config, budget) {}

  int64_t n_tokens() const { return n_tokens_; }
  // Of them, those behind the last block's end (DeltaBlocks).
  int64_t n_in_block() const { return n_in_block_; }
  int64_t context_tokens() const { return context_tokens_; }
  void set_n_tokens(int64_t n, int64_t n_in_block) {
    n_tokens_ = n;
    n_in_block_ = n_in_block;
  }
  KvCache& kv() { return kv_; }
  const KvCache& kv() const { return kv_; }
  DeltaState& delta() { return delta_; }
  const DeltaState& delta() const { return delta_; }

 private:
  int64_t n_tokens_ = 0, n_in_block_ = 0;
  int64_t context_tokens_;
  KvCache kv_;
  DeltaState delta_;
};

}  // namespace flashmoe
