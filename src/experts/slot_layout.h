// Where the bytes of a record go in its slot, and how the slots share a budget.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "experts/cache.h"
#include "experts/source.h"

namespace flashmoe {

// Where a slot, and each read in it, begins at least.
inline constexpr uint64_t kSlotAlignment = 64;

// One transfer of a record. With alignment > 1 it covers more than was asked for: whole aligned blocks.
struct SlotRead {
  uint32_t file = 0;
  uint64_t offset = 0;        // in the file, aligned
  uint64_t bytes = 0;         // a multiple of the alignment
  uint64_t needed_bytes = 0;  // to the end of the last part
  uint64_t at = 0;            // in the slot, aligned
};

inline constexpr size_t kRecordParts = 3 * kMatrixParts;

// A record's parts in a slot: [3 m + p] is part p (0 weights, 1 scales, 2 biases) of matrix m (0 gate, 1 up, 2 down).
// Parts that touch in the file come with one read.
struct SlotLayout {
  std::array<SlotRead, kRecordParts> reads;
  int n_reads = 0;
  std::array<uint64_t, kRecordParts> part_at{};  // in the slot; the address keeps the file offset's alignment
  std::array<int, kRecordParts> read_of{};       // which read brings the part; -1: not there
  uint64_t bytes = 0;
};
SlotLayout lay_out_slot(const ExpertRecord& record, uint32_t alignment);

// The matrices of a record whose slot begins at `slot`.
ExpertWeights weights_in_slot(const ExpertRecord& record, const SlotLayout& layout, const std::byte* slot);

// Layers whose records hold the same number of bytes share slots.
struct SlotClass {
  std::vector<int> layers;
  uint64_t slot_bytes = 0;  // a multiple of the alignment
  int n_records = 0;        // beyond as many slots nothing is gained
  int n_slots = 0;
};
// With n_slots at the floor: enough for one token's picks of one layer.
std::vector<SlotClass> slot_classes(const ExpertTable& table, uint32_t alignment);
// The same for the cache's bookkeeping.
std::vector<CacheClass> cache_classes(const std::vector<SlotClass>& classes);
uint64_t slots_bytes(const std::vector<SlotClass>& classes);
// Where each slot begins in `memory` of slots_bytes(), by slot: first lie as many of each class as `in_front` has, then
// the others.
std::vector<std::byte*> slot_places(const std::vector<SlotClass>& classes, const std::vector<SlotClass>& in_front,
                                    std::span<std::byte> memory);
// Raises n_slots as far as the budget goes, each class in proportion to the bytes of its records.
void share_out(std::vector<SlotClass>& classes, uint64_t budget_bytes);

struct StreamedSizes {
  uint64_t floor_bytes = 0;  // fewest bytes of slots that work: one token's picks of one layer
  uint64_t full_bytes = 0;   // beyond this nothing more is gained: every expert has a slot
};
// `alignment`: of direct reads, 1 when buffered.
StreamedSizes streamed_sizes(const ExpertTable& table, uint32_t alignment);

}  // namespace flashmoe
