// What the disk reads while nobody asks for anything: guesses at the next layer's picks, then experts that fill empty
// slots.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/cache.h"
#include "experts/guess_record.h"
#include "experts/slot_reader.h"
#include "experts/source.h"

namespace flashmoe {

class UnaskedQueue {
 public:
  // `warm_up`: what empty slots are filled with, in this order. Cache and reader must outlive this object.
  UnaskedQueue(const ExpertTable& table, ExpertCache& cache, SlotReader& reader, std::vector<ExpertId> warm_up);

  // Guesses at a layer's picks in place of those before: of each row the likeliest, then of each the second, and so on.
  // `busy`: demand occupies the disk. `max_picks`: what the cache holds of one layer.
  void guess(int layer, std::span<const int32_t> experts, int64_t n_rows, bool busy, int max_picks);
  // What the layer's router picked in the end, or a wave of it. Guesses that are not begun come too late.
  void settle(int layer, std::span<const int32_t> picks);
  // The layer has all its picks: guesses that are not among them were wrong.
  void leave(int layer);
  // Frees the slots of guesses that are not picked so far.
  void drop_guesses();

  // Begins what the disk has time for: nothing while anything is demanded, and of the warm-up so many at once at most.
  void read(int n_warm_ups);

  bool warms_up() const { return !warm_up_.empty(); }
  bool warmed_up() const { return n_warmed_up_ == warm_up_.size(); }
  size_t n_warmed_up() const { return n_warmed_up_; }     // begun, or found there
  void note_used() { ++stats_.used; }                     // a guess was picked
  const ReadAheadStats& stats() const { return stats_; }  // of guesses

 private:
  bool begin(ExpertId id, ReadCause cause);

  ExpertCache& cache_;
  SlotReader& reader_;
  GuessRecord record_;
  std::vector<ExpertId> guesses_;  // likeliest first
  size_t n_guesses_begun_ = 0;
  int guesses_at_once_ = 0;
  std::vector<int> guessed_slots_;  // pinned until the guesses are dropped
  std::vector<ExpertId> warm_up_;
  size_t n_warmed_up_ = 0;
  ReadAheadStats stats_;
};

}  // namespace flashmoe
