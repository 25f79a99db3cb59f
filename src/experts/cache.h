// Which expert is in which slot: the bookkeeping of a bounded cache, without memory or I/O of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "experts/eviction.h"

namespace flashmoe {

// Layers whose records fit the same slots, and how many slots they share.
struct CacheClass {
  std::vector<int> layers;
  int n_slots = 0;
};

// Slots are numbered class by class. A slot is empty, or holds an expert; a pinned slot is never evicted.
class ExpertCache {
 public:
  static constexpr int kNoSlot = -1;

  // Every layer is in exactly one class.
  ExpertCache(int n_layers, int n_experts, std::vector<CacheClass> classes, const EvictionRates& rates = {});

  // Tells the eviction policy of the picks of one layer, before they are looked up.
  void use(int layer, const Picks& picks) { eviction_.use(layer, picks); }
  void expect(std::span<const float> rates) { eviction_.expect(rates); }
  // The slot that holds the expert, or kNoSlot.
  int find(int layer, int expert) const { return slot_of_[record(layer, expert)]; }
  // Gives the expert, which is in no slot, an empty or evicted one and pins it. kNoSlot if all are pinned.
  int take(int layer, int expert);
  // The same, but only where nothing has to leave for it.
  int take_empty(int layer, int expert);
  // A slot that went out of use, and where the expert that it held is now, whose bytes the caller moves; kNoSlot:
  // nowhere, or it held none.
  struct Retired {
    int slot = kNoSlot, moved_to = kNoSlot;
  };
  // Takes the class's last slot in use out of use, and the expert that is needed last out of the cache, unless a slot
  // is empty. Nothing while the slot is pinned.
  std::optional<Retired> retire(int slot_class);
  // Takes the class's first slot out of use into use again.
  void restore(int slot_class);
  int n_in_use(int slot_class) const { return n_in_use_[static_cast<size_t>(slot_class)]; }
  // Each pin needs its unpin.
  void pin(int slot);
  void unpin(int slot);
  // The slot's content is no good: it is not found any more, and is empty once unpinned.
  void forget(int slot);

  ExpertId held(int slot) const { return slots_[static_cast<size_t>(slot)].id; }
  int n_slots() const { return static_cast<int>(slots_.size()); }

 private:
  struct Slot {
    ExpertId id;
    int slot_class = 0;
    int n_pins = 0;
    bool found = false;  // slot_of_ points here
  };
  int hold(int index, int layer, int expert);
  int evict(int slot_class);
  size_t record(int layer, int expert) const {
    return static_cast<size_t>(layer) * static_cast<size_t>(n_experts_) + static_cast<size_t>(expert);
  }

  int n_experts_;
  Eviction eviction_;
  std::vector<CacheClass> classes_;
  std::vector<int> first_slot_;          // [n_classes]
  std::vector<int> n_in_use_;            // [n_classes], from the first on
  std::vector<int> class_of_;            // [n_layers]
  std::vector<std::vector<int>> empty_;  // [n_classes], slots that hold nothing
  std::vector<int> slot_of_;             // [n_layers, n_experts]
  std::vector<Slot> slots_;
};

}  // namespace flashmoe
