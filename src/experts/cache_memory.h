// The memory of the cache's slots: where each lies, and how many are in use. Some are given back while others need
// their memory, and taken again afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "experts/cache.h"
#include "experts/slot_layout.h"
#include "memory/buffer.h"
#include "memory/prefault.h"

namespace flashmoe {

class CacheMemory {
 public:
  // Has a place for as many slots as the budget's Allotted::expert_cache may ever hold; those that no lender takes back
  // lie in front. All are in use at first: nothing is claimed of a lender before. `alignment`: of direct reads.
  // `prefault_threads` take the memory from the system early. CHECKs that the allotment holds one token's picks of one
  // layer.
  CacheMemory(const ExpertTable& table, uint32_t alignment, Budget& budget, int prefault_threads);

  // Gives slots back, from behind, or takes them again, until at most `bytes` are in use, each class in proportion, but
  // one token's picks of one layer at least. Experts that are needed sooner than others move to the front: move(from,
  // to) moves a slot's bytes. While no lease lives. False when a slot that is pinned stopped it: more are in use.
  [[nodiscard]] bool follow(uint64_t bytes, ExpertCache& cache, FunctionRef<void(int, int)> move);

  const std::vector<SlotClass>& classes() const { return classes_; }           // with all slots
  const std::vector<std::byte*>& places() const { return places_; }            // [n_slots]
  uint64_t limit_bytes() const;                                                // that may be in use now
  uint64_t bytes() const { return buffer_.size(); }                            // in use
  uint64_t lent_bytes() const;                                                 // of these, lent
  std::span<const int32_t> slots_given_back() const { return n_given_back_; }  // [classes]
  // The most experts that can be held at the same time whatever their layer; n_records when all have a slot.
  int fewest_slots(int n_records) const;

 private:
  int wanted(size_t c, uint64_t bytes) const;
  int n_used(size_t c) const { return classes_[c].n_slots - n_given_back_[c]; }
  std::span<std::byte> slot_at(size_t c, int index) const;  // of the class

  Budget& budget_;
  std::vector<SlotClass> floor_;    // with the fewest slots that work,
  std::vector<SlotClass> own_;      // with those that are never lent,
  std::vector<SlotClass> classes_;  // with all
  uint64_t floor_bytes_, own_bytes_, most_bytes_;
  Buffer buffer_;
  std::vector<std::byte*> places_;
  std::vector<int> first_slot_;  // [classes]
  Prefault prefault_;
  std::vector<int32_t> n_given_back_;  // [classes], the last slots of each
};

}  // namespace flashmoe
