#include "experts/cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace flashmoe {

ExpertCache::ExpertCache(int n_layers, int n_experts, std::vector<CacheClass> classes, const EvictionRates& rates)
    : n_experts_(n_experts), eviction_(n_layers, n_experts, rates), classes_(std::move(classes)) {
  class_of_.assign(static_cast<size_t>(n_layers), -1);
  slot_of_.assign(record(n_layers, 0), kNoSlot);
  empty_.resize(classes_.size());
  for (size_t c = 0; c < classes_.size(); ++c) {
    for (const int layer : classes_[c].layers) class_of_[static_cast<size_t>(layer)] = static_cast<int>(c);
    const int first = n_slots();
    first_slot_.push_back(first);
    n_in_use_.push_back(classes_[c].n_slots);
    // Handed out from the back: lowest slot first.
    for (int i = classes_[c].n_slots - 1; i >= 0; --i) empty_[c].push_back(first + i);
    slots_.resize(slots_.size() + static_cast<size_t>(classes_[c].n_slots),
                  Slot{.id = {}, .slot_class = static_cast<int>(c)});
  }
  for (const int c : class_of_) CHECK(c >= 0);
}

int ExpertCache::take(int layer, int expert) {
  const int empty = take_empty(layer, expert);
  if (empty != kNoSlot) return empty;
  const int evicted = evict(class_of_[static_cast<size_t>(layer)]);
  return evicted == kNoSlot ? kNoSlot : hold(evicted, layer, expert);
}

// The slot that nothing is found in any more, or kNoSlot.
int ExpertCache::evict(int slot_class) {
  const auto victim = eviction_.victim(classes_[static_cast<size_t>(slot_class)].layers);
  if (!victim) return kNoSlot;
  eviction_.set_candidate(victim->layer, victim->expert, false);
  return std::exchange(slot_of_[record(victim->layer, victim->expert)], kNoSlot);
}

std::optional<ExpertCache::Retired> ExpertCache::retire(int slot_class) {
  const auto c = static_cast<size_t>(slot_class);
  std::vector<int>& empty = empty_[c];
  const int last = first_slot_[c] + n_in_use_[c] - 1;
  Slot& slot = slots_[static_cast<size_t>(last)];
  if (slot.n_pins > 0) return std::nullopt;
  --n_in_use_[c];
  if (!slot.found) {
    empty.erase(std::ranges::find(empty, last));
    return Retired{.slot = last};
  }
  const int to = empty.empty() ? evict(slot_class) : empty.back();
  if (!empty.empty()) empty.pop_back();
  slot.found = false;
  if (to == last) return Retired{.slot = last};
  CHECK(to != kNoSlot);  // the slot's own expert could leave
  slots_[static_cast<size_t>(to)].id = slot.id;
  slots_[static_cast<size_t>(to)].found = true;
  slot_of_[record(slot.id.layer, slot.id.expert)] = to;
  return Retired{last, to};
}

void ExpertCache::restore(int slot_class) {
  const auto c = static_cast<size_t>(slot_class);
  CHECK(n_in_use_[c] < classes_[c].n_slots);
  empty_[c].push_back(first_slot_[c] + n_in_use_[c]++);
}

int ExpertCache::take_empty(int layer, int expert) {
  CHECK(find(layer, expert) == kNoSlot);
  std::vector<int>& empty = empty_[static_cast<size_t>(class_of_[static_cast<size_t>(layer)])];
  if (empty.empty()) return kNoSlot;
  const int index = empty.back();
  empty.pop_back();
  return hold(index, layer, expert);
}

int ExpertCache::hold(int index, int layer, int expert) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  CHECK(slot.n_pins == 0);
  slot.id = {layer, expert};
  slot.n_pins = 1;
  slot.found = true;
  slot_of_[record(layer, expert)] = index;
  return index;
}

void ExpertCache::pin(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  CHECK(s.found);
  if (s.n_pins++ == 0) eviction_.set_candidate(s.id.layer, s.id.expert, false);
}

void ExpertCache::unpin(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  CHECK(s.n_pins > 0);
  if (--s.n_pins > 0) return;
  if (s.found) {
    eviction_.set_candidate(s.id.layer, s.id.expert, true);
  } else {
    empty_[static_cast<size_t>(s.slot_class)].push_back(slot);
  }
}

void ExpertCache::forget(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  CHECK(s.found && s.n_pins > 0);
  s.found = false;
  slot_of_[record(s.id.layer, s.id.expert)] = kNoSlot;
}

}  // namespace flashmoe
