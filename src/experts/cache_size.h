// Gives slots of the cache back to the system while memory is scarce, and takes them again afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/cache.h"
#include "experts/slot_layout.h"

namespace flashmoe {

class CacheSize {
 public:
  // `classes`: with the slots of the plan. `floor`: the same with the fewest of each. `places` [n_slots]: where each
  // slot begins.
  CacheSize(const std::vector<SlotClass>& classes, const std::vector<SlotClass>& floor,
            const std::vector<std::byte*>& places);

  // Retires slots, those needed last first, or takes retired ones back, until at most `bytes` are in use, each class in
  // proportion. While no lease lives; slots that are still read into stay. True when the number of slots changed.
  bool follow(uint64_t bytes, ExpertCache& cache);

  uint64_t given_back_bytes() const { return full_bytes_ - bytes_; }
  std::span<const int32_t> slots_given_back() const { return n_given_back_; }  // [classes]
  // The most experts that can be held at the same time whatever their layer; n_records when all have a slot.
  int fewest_slots(int n_records) const;

 private:
  struct Class {
    uint64_t slot_bytes = 0;
    int n_records = 0;
    int n_slots = 0;  // of the plan
    int floor = 0;
    std::vector<int> retired = {};  // [<= n_slots], reserved
    int n_used() const { return n_slots - static_cast<int>(retired.size()); }
  };
  int wanted(const Class& slots, uint64_t bytes) const;

  std::vector<Class> classes_;
  std::vector<int32_t> n_given_back_;  // [classes]
  std::vector<std::byte*> places_;
  uint64_t full_bytes_ = 0, bytes_ = 0;  // of the plan, in use
};

}  // namespace flashmoe
