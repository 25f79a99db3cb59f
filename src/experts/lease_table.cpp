#include "experts/lease_table.h"

#include <algorithm>
#include <numeric>

namespace flashmoe {

int LeaseTable::open(int layer, size_t n_picks) {
  if (idle_.empty()) {
    idle_.reserve(leases_.size() + 1);  // so that close never allocates
    idle_.push_back(static_cast<int>(leases_.size()));
    leases_.emplace_back();
  }
  const int id = idle_.back();
  idle_.pop_back();
  LeaseState& lease = at(id);
  lease.layer = layer;
  lease.all_here = true;
  lease.slots.resize(n_picks);
  lease.outcomes.assign(n_picks, Outcome::missed);
  lease.outstanding.resize(n_picks);
  lease.handed.reserve(n_picks);
  std::iota(lease.outstanding.begin(), lease.outstanding.end(), 0);
  return id;
}

void LeaseTable::hand_out(int id, const SlotReader& reader, size_t most) {
  LeaseState& lease = at(id);
  const auto slot_of = [&](int32_t pick) -> const Slot& { return reader.slot(lease.slots[static_cast<size_t>(pick)]); };
  for (const int32_t pick : lease.outstanding) {
    if (slot_of(pick).state == Slot::State::failed) reader.fail_slot(lease.slots[static_cast<size_t>(pick)]);
  }
  lease.handed.clear();
  size_t n_left = 0;
  for (const int32_t pick : lease.outstanding) {
    if (slot_of(pick).state == Slot::State::ready) {
      lease.handed.push_back(pick);
    } else {
      lease.outstanding[n_left++] = pick;
    }
  }
  lease.outstanding.resize(n_left);
  std::sort(lease.handed.begin(), lease.handed.end(), [&](int32_t a, int32_t b) {
    const uint64_t x = slot_of(a).arrival, y = slot_of(b).arrival;
    return x != y ? x < y : a < b;
  });
  if (lease.handed.size() <= most) return;
  lease.outstanding.insert(lease.outstanding.end(), lease.handed.begin() + static_cast<std::ptrdiff_t>(most),
                           lease.handed.end());
  lease.handed.resize(most);
}

}  // namespace flashmoe
