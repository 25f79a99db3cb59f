// Conversations as tokens plus state, so that a prompt that begins like a known one is read from where they part.
// Belongs to the engine's thread.
//
// Keys and values are kept once for all that share them. Delta-net state cannot be rewound: there is a copy at each
// stop, and stops lie where blocks of the delta rule end, where a fresh prefill has the same bits
// (docs/decisions/0014). Each part of a stretch is in memory, on disk, or both.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session_folder.h"
#include "memory/buffer.h"
#include "model/delta_blocks.h"
#include "model/sequence.h"

namespace flashmoe {

class SessionStore {
 public:
  // Takes its memory from the budget's `sessions`; what was used longest ago goes first, to the folder if there is one.
  SessionStore(const DeltaBlocks& blocks, Budget& budget, std::unique_ptr<SessionFolder> folder)
      : blocks_(blocks), budget_(budget), folder_(std::move(folder)) {}

  // Takes in what of the folder's files `like`, an empty sequence of the model, can take over.
  void recall(std::vector<SessionFolder::Found> found, const Sequence& like, int64_t vocab_size);

  // Makes an empty sequence what it is after the longest known beginning of `ids` that leaves some to be read. Returns
  // how many tokens that is.
  int64_t resume(std::span<const int32_t> ids, Sequence& sequence);
  // Whether resume would find all of `ids`, were there more behind them.
  bool knows(std::span<const int32_t> ids);
  // Remembers a sequence of exactly `ids`, which end with a block, if there is room.
  void keep(std::span<const int32_t> ids, Sequence& sequence);
  // Memory for a StateCopy at a stop that a step passes; nothing where there is none.
  std::optional<Buffer> room_for_state(const Sequence& sequence);
  // Remembers what begins a sequence, with the state copied there.
  void keep(std::span<const int32_t> ids, Sequence& sequence, Buffer state) {
    remember(ids, sequence, std::move(state));
  }
  // Writes one part that is in memory alone to the folder. False when there is none, or the folder takes none now.
  bool save_one();

  uint64_t n_stops() const;
  size_t n_stretches() const { return stretches_.size(); }
  uint64_t bytes() const { return budget_.used(Allotted::sessions); }
  SessionFolder* folder() const { return folder_.get(); }

 private:
  struct Part {
    Buffer memory;
    bool in_memory = false;
    std::string file;  // its name in the folder; empty: it was not written
    bool on_disk() const { return !file.empty(); }
    bool known() const { return in_memory || on_disk(); }
  };
  // From one stop to the next.
  struct Stretch {
    Stretch* before = nullptr;  // null: it begins the sequence
    int64_t n_before = 0;       // tokens
    std::vector<int32_t> ids;
    Part kv;                         // of each attention layer, its keys then its values
    Part state;                      // at the end
    uint64_t used = 0, resumed = 0;  // when, on clock_
    int64_t end() const { return n_before + static_cast<int64_t>(ids.size()); }
    Part& part(SessionPart which) { return which == SessionPart::kv ? kv : state; }
  };

  enum class EndsIn { anything, state };
  enum class Kept { anywhere, in_memory };
  Stretch* longest(std::span<const int32_t> ids, const Stretch* from, int64_t most, EndsIn what) const;
  std::vector<Stretch*> chain(Stretch* last) const;
  SessionRecord record_of(Stretch& stretch, SessionPart part) const;
  bool take_over(Stretch& last, Sequence& sequence);
  bool load(Stretch& stretch, SessionPart part, const SessionBytes& into);
  void remember(std::span<const int32_t> ids, Sequence& sequence, std::optional<Buffer> state);
  void forget_removed();
  std::optional<Buffer> room(uint64_t bytes);
  bool hold(Stretch& stretch, SessionPart part, const SessionBytes& bytes);
  bool keep_part(Stretch& stretch, SessionPart part, const SessionBytes& bytes);
  bool write(Stretch& stretch, SessionPart part, const SessionBytes& bytes);
  bool save(Stretch& stretch, SessionPart part);
  void forget(Stretch& stretch);
  bool has_next(const Stretch& stretch, Kept where) const;
  bool serves(const Stretch& stretch) const;
  bool make_room(uint64_t bytes);
  void leave_memory(Stretch& stretch, SessionPart part);

  const DeltaBlocks& blocks_;
  Budget& budget_;
  std::unique_ptr<SessionFolder> folder_;  // may be null
  uint64_t clock_ = 0;
  uint64_t n_removals_seen_ = 0;  // of the folder's
  std::vector<std::unique_ptr<Stretch>> stretches_;
};

}  // namespace flashmoe
