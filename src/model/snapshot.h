// A copy of a sequence's memory at one moment. Delta-net state cannot be rewound, so going back means restoring one.
#pragma once

#include "memory/buffer.h"
#include "model/sequence.h"

namespace flashmoe {

class Snapshot {
 public:
  // Draws on the same allotments as the sequence. Throws Error{memory_floor} when they are used up.
  Snapshot(const Sequence& sequence, Budget& budget);

  // Makes `sequence` (of the same model, KV format and at least this context) exactly what it was.
  void restore(Sequence& sequence) const;
  int64_t n_tokens() const { return n_tokens_; }

 private:
  int64_t n_tokens_, n_in_block_;
  Buffer kv_;     // keys then values of each attention layer, whole tiles
  Buffer delta_;  // the whole DeltaState
};

}  // namespace flashmoe
