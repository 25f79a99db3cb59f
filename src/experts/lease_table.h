// The leases that live: which slots each one holds, and which of its picks it has handed out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/slot_reader.h"

namespace flashmoe {

struct LeaseState {
  int layer = 0;
  bool all_here = false;             // from the start
  std::vector<int> slots;            // [n_picks]
  std::vector<Outcome> outcomes;     // [n_picks]
  std::vector<int32_t> outstanding;  // picks that were not handed out
  std::vector<int32_t> handed;       // picks that were handed out last
};

class LeaseTable {
 public:
  // Of a lease with n picks, all outstanding. Allocates only while the largest and the most leases grow.
  int open(int layer, size_t n_picks);
  void close(int id) noexcept { idle_.push_back(id); }
  bool none_open() const { return idle_.size() == leases_.size(); }
  LeaseState& at(int id) { return leases_[static_cast<size_t>(id)]; }
  const LeaseState& at(int id) const { return leases_[static_cast<size_t>(id)]; }

  // Moves what has arrived, at most so many, from outstanding to handed, in order of arrival. Throws Error{io} for a
  // slot that failed.
  void hand_out(int id, const SlotReader& reader, size_t most);

 private:
  std::vector<LeaseState> leases_;
  std::vector<int> idle_;
};

}  // namespace flashmoe
