#include "experts/cache_memory.h"

#include <algorithm>

#include "base/check.h"

namespace flashmoe {
namespace {

std::vector<SlotClass> with_slots(std::vector<SlotClass> floor, uint64_t bytes) {
  CHECK(slots_bytes(floor) <= bytes);
  share_out(floor, bytes);
  return floor;
}

// Both are rounded.
std::vector<SlotClass> at_most(std::vector<SlotClass> classes, const std::vector<SlotClass>& most) {
  for (size_t c = 0; c < classes.size(); ++c) classes[c].n_slots = std::min(classes[c].n_slots, most[c].n_slots);
  return classes;
}

}  // namespace

CacheMemory::CacheMemory(const ExpertTable& table, uint32_t alignment, Budget& budget, int prefault_threads)
    : budget_(budget),
      floor_(slot_classes(table, alignment)),
      own_(with_slots(floor_, budget.allotted(Allotted::expert_cache))),
      classes_(with_slots(floor_, budget.expert_cache_most())),
      floor_bytes_(slots_bytes(floor_)),
      own_bytes_(slots_bytes(own_ = at_most(own_, classes_))),
      most_bytes_(slots_bytes(classes_)),
      buffer_(Buffer::in_parts(budget, Allotted::expert_cache, most_bytes_)),
      places_(slot_places(classes_, own_, buffer_.reserved_span())),
      prefault_(buffer_.reserved_span(), prefault_threads),
      n_given_back_(classes_.size()) {
  CHECK(buffer_.claim(buffer_.reserved_span()));
  int first = 0;
  for (const SlotClass& slots : classes_) {
    first_slot_.push_back(first);
    first += slots.n_slots;
  }
}

std::span<std::byte> CacheMemory::slot_at(size_t c, int index) const {
  return {places_[static_cast<size_t>(first_slot_[c] + index)], classes_[c].slot_bytes};
}

uint64_t CacheMemory::limit_bytes() const { return std::min(budget_.expert_cache_limit(), most_bytes_); }

uint64_t CacheMemory::lent_bytes() const { return bytes() - std::min(bytes(), own_bytes_); }

int CacheMemory::wanted(size_t c, uint64_t bytes) const {
  const int floor = floor_[c].n_slots, most = classes_[c].n_slots;
  if (bytes >= most_bytes_) return most;
  if (bytes <= floor_bytes_) return floor;
  const double share = static_cast<double>(bytes - floor_bytes_) / static_cast<double>(most_bytes_ - floor_bytes_);
  return floor + static_cast<int>(share * (most - floor));
}

bool CacheMemory::follow(uint64_t bytes, ExpertCache& cache, FunctionRef<void(int, int)> move) {
  bool followed = true;
  for (size_t c = 0; c < classes_.size(); ++c) {
    while (n_used(c) > wanted(c, bytes)) {
      const auto retired = cache.retire(static_cast<int>(c));
      followed = followed && retired.has_value();
      if (!retired) break;
      if (retired->moved_to != ExpertCache::kNoSlot) move(retired->slot, retired->moved_to);
      ++n_given_back_[c];
      const std::span<std::byte> slot = slot_at(c, n_used(c));
      prefault_.end_before(slot.data());  // it would take again what is given back
      buffer_.give_back(slot);
    }
  }
  // What one class gave another may take.
  for (size_t c = 0; c < classes_.size(); ++c) {
    while (n_used(c) < wanted(c, bytes) && buffer_.claim(slot_at(c, n_used(c)))) {
      cache.restore(static_cast<int>(c));
      --n_given_back_[c];
    }
  }
  return followed;
}

int CacheMemory::fewest_slots(int n_records) const {
  int fewest = n_records;
  for (size_t c = 0; c < classes_.size(); ++c) {
    // A class that holds all its experts never runs out.
    if (n_used(c) < classes_[c].n_records) fewest = std::min(fewest, n_used(c));
  }
  return fewest;
}

}  // namespace flashmoe
