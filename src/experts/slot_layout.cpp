#include "experts/slot_layout.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"

namespace flashmoe {

SlotLayout lay_out_slot(const ExpertRecord& record, uint32_t alignment) {
  const std::array<const ExpertMatrix*, 3> matrices = {&record.gate, &record.up, &record.down};
  std::array<int, 3> order = {0, 1, 2};
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const ExpertMatrix &x = *matrices[static_cast<size_t>(a)], &y = *matrices[static_cast<size_t>(b)];
    return x.file != y.file ? x.file < y.file : x.offset < y.offset;
  });

  SlotLayout layout;
  for (const int m : order) {
    const ExpertMatrix& matrix = *matrices[static_cast<size_t>(m)];
    const uint64_t first = round_down(matrix.offset, alignment);
    const uint64_t end = matrix.offset + matrix.bytes();
    SlotRead* read = layout.n_reads > 0 ? &layout.reads[static_cast<size_t>(layout.n_reads - 1)] : nullptr;
    if (read == nullptr || read->file != matrix.file || first > read->offset + read->bytes) {
      const uint64_t at = round_up(layout.bytes, std::max<uint64_t>(alignment, kSlotAlignment));
      read = &layout.reads[static_cast<size_t>(layout.n_reads++)];
      *read = {.file = matrix.file, .offset = first, .bytes = 0, .needed_bytes = 0, .at = at};
    }
    read->needed_bytes = std::max(read->needed_bytes, end - read->offset);
    read->bytes = round_up(read->needed_bytes, alignment);
    layout.matrix_at[static_cast<size_t>(m)] = read->at + (matrix.offset - read->offset);
    layout.read_of[static_cast<size_t>(m)] = layout.n_reads - 1;
    layout.bytes = read->at + read->bytes;
  }
  layout.bytes = round_up(layout.bytes, std::max<uint64_t>(alignment, kSlotAlignment));
  return layout;
}

ExpertWeights weights_in_slot(const ExpertRecord& record, const SlotLayout& layout, const std::byte* slot) {
  const auto view = [&](const ExpertMatrix& matrix, size_t m) {
    return MatrixView{slot + layout.matrix_at[m], matrix.rows, matrix.cols, matrix.format};
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

}  // namespace flashmoe
