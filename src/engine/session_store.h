// Conversations as tokens plus state, so that a prompt that begins like a known one is read from where they part.
// Belongs to the engine's thread.
//
// Keys and values are kept once for all that share them. Delta-net state cannot be rewound: there is a copy at each
// stop, and stops lie at multiples of kDeltaChunk, where a fresh prefill has the same bits (docs/decisions/0004).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "memory/buffer.h"
#include "model/sequence.h"

namespace flashmoe {

class SessionStore {
 public:
  // Takes its memory from the budget's `sessions`; what was used longest ago goes first.
  explicit SessionStore(Budget& budget) : budget_(budget) {}

  // Makes an empty sequence what it is after the longest known beginning of `ids` that leaves some to be read. Returns
  // how many tokens that is.
  int64_t resume(std::span<const int32_t> ids, Sequence& sequence);
  // Remembers a sequence of exactly `ids`, a multiple of kDeltaChunk of them, if there is room.
  void keep(std::span<const int32_t> ids, const Sequence& sequence);

  uint64_t n_stops() const;
  uint64_t bytes() const { return budget_.used(Allotted::sessions); }

 private:
  // From one stop to the next.
  struct Stretch {
    const Stretch* before = nullptr;  // null: it begins the sequence
    int64_t n_before = 0;             // tokens
    std::vector<int32_t> ids;
    Buffer kv;     // of each attention layer, its keys then its values
    Buffer delta;  // at the end
    bool has_state = false;
    uint64_t used = 0, resumed = 0;  // when, on clock_
    int64_t end() const { return n_before + static_cast<int64_t>(ids.size()); }
  };
  using Place = std::vector<std::unique_ptr<Stretch>>::iterator;

  const Stretch* longest(std::span<const int32_t> ids, const Stretch* from, int64_t most, bool with_state) const;
  std::vector<Stretch*> chain(const Stretch* last) const;
  bool is_leaf(const Stretch& stretch) const;
  bool make_room(uint64_t bytes);
  void keep_state(Stretch& stretch, const Sequence& sequence);

  Budget& budget_;
  uint64_t clock_ = 0;
  std::vector<std::unique_ptr<Stretch>> stretches_;
};

}  // namespace flashmoe
