#include "experts/cache_size.h"

#include <algorithm>

#include "base/check.h"
#include "memory/buffer.h"

namespace flashmoe {

CacheSize::CacheSize(const std::vector<SlotClass>& classes, const std::vector<SlotClass>& floor,
                     const std::vector<std::byte*>& places)
    : places_(places), full_bytes_(slots_bytes(classes)), bytes_(full_bytes_) {
  CHECK(floor.size() == classes.size());
  n_given_back_.assign(classes.size(), 0);
  for (size_t c = 0; c < classes.size(); ++c) {
    classes_.push_back({classes[c].slot_bytes, classes[c].n_records, classes[c].n_slots, floor[c].n_slots});
    classes_.back().retired.reserve(static_cast<size_t>(classes[c].n_slots));
  }
}

int CacheSize::wanted(const Class& slots, uint64_t bytes) const {
  const double share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(full_bytes_));
  return std::max(slots.floor, static_cast<int>(share * slots.n_slots));
}

bool CacheSize::follow(uint64_t bytes, ExpertCache& cache) {
  const uint64_t before = bytes_;
  for (size_t c = 0; c < classes_.size(); ++c) {
    Class& slots = classes_[c];
    const int target = wanted(slots, bytes);
    while (slots.n_used() > target) {
      const int index = cache.retire(static_cast<int>(c));
      if (index == ExpertCache::kNoSlot) break;  // the others are read into: next time
      give_back({places_[static_cast<size_t>(index)], slots.slot_bytes});
      slots.retired.push_back(index);
      bytes_ -= slots.slot_bytes;
    }
    while (slots.n_used() < target) {
      cache.restore(slots.retired.back());
      slots.retired.pop_back();
      bytes_ += slots.slot_bytes;
    }
    n_given_back_[c] = static_cast<int32_t>(slots.retired.size());
  }
  return bytes_ != before;
}

int CacheSize::fewest_slots(int n_records) const {
  int fewest = n_records;
  for (const Class& slots : classes_) {
    // A class that holds all its experts never runs out.
    if (slots.n_used() < slots.n_records) fewest = std::min(fewest, slots.n_used());
  }
  return fewest;
}

}  // namespace flashmoe
