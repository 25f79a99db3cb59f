#include "experts/slot_layout.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "base/check.h"

namespace flashmoe {

SlotLayout lay_out_slot(const ExpertRecord& record, uint32_t alignment) {
  std::array<Extent, kRecordParts> parts;
  std::array<size_t, kRecordParts> order;
  size_t n_parts = 0;
  SlotLayout layout;
  layout.read_of.fill(-1);
  for (size_t m = 0; m < 3; ++m) {
    for (size_t p = 0; p < kMatrixParts; ++p) {
      const Extent& part = record.matrices()[m]->parts[p];
      parts[m * kMatrixParts + p] = part;
      if (part.bytes > 0) order[n_parts++] = m * kMatrixParts + p;
    }
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_parts), [&](size_t a, size_t b) {
    return parts[a].file != parts[b].file ? parts[a].file < parts[b].file : parts[a].offset < parts[b].offset;
  });

  for (size_t i = 0; i < n_parts; ++i) {
    const Extent& part = parts[order[i]];
    const uint64_t first = round_down(part.offset, alignment);
    const uint64_t end = part.offset + part.bytes;
    SlotRead* read = layout.n_reads > 0 ? &layout.reads[static_cast<size_t>(layout.n_reads - 1)] : nullptr;
    if (read == nullptr || read->file != part.file || first > read->offset + read->bytes) {
      const uint64_t at = round_up(layout.bytes, std::max<uint64_t>(alignment, kSlotAlignment));
      read = &layout.reads[static_cast<size_t>(layout.n_reads++)];
      *read = {.file = part.file, .offset = first, .bytes = 0, .needed_bytes = 0, .at = at};
    }
    read->needed_bytes = std::max(read->needed_bytes, end - read->offset);
    read->bytes = round_up(read->needed_bytes, alignment);
    layout.part_at[order[i]] = read->at + (part.offset - read->offset);
    layout.read_of[order[i]] = layout.n_reads - 1;
    layout.bytes = read->at + read->bytes;
  }
  layout.bytes = round_up(layout.bytes, std::max<uint64_t>(alignment, kSlotAlignment));
  return layout;
}

ExpertWeights weights_in_slot(const ExpertRecord& record, const SlotLayout& layout, const std::byte* slot) {
  const auto view = [&](const ExpertMatrix& matrix, size_t m) {
    const uint64_t* at = &layout.part_at[m * kMatrixParts];
    return matrix.view({slot + at[0], slot + at[1], slot + at[2]});
  };
  return {.gate = view(record.gate, 0), .up = view(record.up, 1), .down = view(record.down, 2)};
}

std::vector<SlotClass> slot_classes(const ExpertTable& table, uint32_t alignment) {
  std::map<uint64_t, SlotClass> by_bytes;
  for (int layer = 0; layer < table.n_layers; ++layer) {
    uint64_t record_bytes = 0, slot_bytes = 0;
    for (int expert = 0; expert < table.n_experts; ++expert) {
      record_bytes = std::max(record_bytes, table.at(layer, expert).bytes());
      slot_bytes = std::max(slot_bytes, lay_out_slot(table.at(layer, expert), alignment).bytes);
    }
    SlotClass& slots = by_bytes[record_bytes];
    slots.layers.push_back(layer);
    slots.slot_bytes = std::max(slots.slot_bytes, slot_bytes);
    slots.n_records += table.n_experts;
  }
  std::vector<SlotClass> classes;
  for (auto& [bytes, slots] : by_bytes) {
    slots.n_slots = std::min(table.n_used, table.n_experts);
    classes.push_back(std::move(slots));
  }
  return classes;
}

uint64_t slots_bytes(const std::vector<SlotClass>& classes) {
  uint64_t sum = 0;
  for (const SlotClass& slots : classes) sum += static_cast<uint64_t>(slots.n_slots) * slots.slot_bytes;
  return sum;
}

std::vector<CacheClass> cache_classes(const std::vector<SlotClass>& classes) {
  std::vector<CacheClass> result;
  for (const SlotClass& slots : classes) result.push_back({.layers = slots.layers, .n_slots = slots.n_slots});
  return result;
}

std::vector<std::byte*> slot_places(const std::vector<SlotClass>& classes, const std::vector<SlotClass>& in_front,
                                    std::span<std::byte> memory) {
  CHECK(memory.size() == slots_bytes(classes) && in_front.size() == classes.size());
  std::byte* front = memory.data();
  std::byte* behind = front + slots_bytes(in_front);
  std::vector<std::byte*> places;
  for (size_t c = 0; c < classes.size(); ++c) {
    CHECK(in_front[c].n_slots <= classes[c].n_slots);
    for (int i = 0; i < classes[c].n_slots; ++i) {
      std::byte*& at = i < in_front[c].n_slots ? front : behind;
      places.push_back(at);
      at += classes[c].slot_bytes;
    }
  }
  return places;
}

void share_out(std::vector<SlotClass>& classes, uint64_t budget_bytes) {
  const auto missing = [](const SlotClass& slots) {
    return static_cast<uint64_t>(slots.n_records - slots.n_slots) * slots.slot_bytes;
  };
  uint64_t wanted = 0;
  for (const SlotClass& slots : classes) wanted += missing(slots);
  const uint64_t floor_bytes = slots_bytes(classes);
  if (wanted == 0 || budget_bytes <= floor_bytes) return;
  const double share = std::min(1.0, static_cast<double>(budget_bytes - floor_bytes) / static_cast<double>(wanted));
  uint64_t left = budget_bytes - floor_bytes;
  for (SlotClass& slots : classes) {
    const uint64_t fitting = left / slots.slot_bytes;
    const auto more = static_cast<uint64_t>(share * static_cast<double>(slots.n_records - slots.n_slots));
    slots.n_slots += static_cast<int>(std::min(more, fitting));
    left -= std::min(more, fitting) * slots.slot_bytes;
  }
  // Rounding down leaves less than a slot per class: deal it out one by one, where it fits.
  for (bool dealt = true; dealt;) {
    dealt = false;
    for (SlotClass& slots : classes) {
      if (slots.n_slots == slots.n_records || slots.slot_bytes > left) continue;
      ++slots.n_slots;
      left -= slots.slot_bytes;
      dealt = true;
    }
  }
}

StreamedSizes streamed_sizes(const ExpertTable& table, uint32_t alignment) {
  std::vector<SlotClass> classes = slot_classes(table, alignment);
  StreamedSizes sizes;
  sizes.floor_bytes = slots_bytes(classes);
  for (SlotClass& slots : classes) slots.n_slots = slots.n_records;
  sizes.full_bytes = slots_bytes(classes);
  return sizes;
}

}  // namespace flashmoe
