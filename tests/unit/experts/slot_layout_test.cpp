#include "experts/slot_layout.h"

#include <gtest/gtest.h>

#include "experts/streamed.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

ExpertRecord record_at(uint64_t gate, uint64_t up, uint64_t down) {  // 6528 bytes each
  ExpertRecord record = {.gate = expert_matrix(96, 64, Format::q8_0),
                         .up = expert_matrix(96, 64, Format::q8_0),
                         .down = expert_matrix(64, 96, Format::q8_0)};
  record.gate.parts[0].offset = gate;
  record.up.parts[0].offset = up;
  record.down.parts[0].offset = down;
  return record;
}

TEST(SlotLayout, NeighboursInTheFileComeWithOneRead) {
  const SlotLayout layout = lay_out_slot(record_at(1000, 1000 + 6528, 50000), 1);
  ASSERT_EQ(layout.n_reads, 2);
  EXPECT_EQ(layout.reads[0].offset, 1000u);
  EXPECT_EQ(layout.reads[0].bytes, 2 * 6528u);
  EXPECT_EQ(layout.reads[1].bytes, 6528u);
  EXPECT_EQ(layout.part_at[3], layout.part_at[0] + 6528);
  EXPECT_EQ(layout.read_of[0], 0);
  EXPECT_EQ(layout.read_of[3], 0);
  EXPECT_EQ(layout.read_of[6], 1);
}

TEST(SlotLayout, AWholeRecordSideBySideIsOneRead) {
  const SlotLayout layout = lay_out_slot(record_at(6528, 2 * 6528, 0), 1);
  ASSERT_EQ(layout.n_reads, 1);
  EXPECT_EQ(layout.part_at[6], 0u);
  EXPECT_EQ(layout.part_at[0], 6528u);
}

TEST(SlotLayout, DirectReadsCoverWholeBlocks) {
  const SlotLayout layout = lay_out_slot(record_at(4096 * 10 + 32, 4096 * 40 - 8, 4096 * 80), 4096);
  ASSERT_EQ(layout.n_reads, 3);
  for (int r = 0; r < layout.n_reads; ++r) {
    const SlotRead& read = layout.reads[static_cast<size_t>(r)];
    EXPECT_EQ(read.offset % 4096, 0u);
    EXPECT_EQ(read.bytes % 4096, 0u);
    EXPECT_EQ(read.at % 4096, 0u);
  }
  EXPECT_EQ(layout.reads[0].needed_bytes, 32 + 6528u);
  EXPECT_EQ(layout.reads[0].bytes, 8192u);
  EXPECT_EQ(layout.part_at[0], 32u);
  EXPECT_EQ(layout.reads[1].bytes, 3 * 4096u);  // 8 bytes, a block and a half, the rest of a block
  EXPECT_EQ(layout.bytes, (2 + 3 + 2) * 4096u);
}

TEST(SlotLayout, MatricesThatShareABlockShareItsRead) {
  const SlotLayout layout = lay_out_slot(record_at(0, 7000, 100000), 4096);
  ASSERT_EQ(layout.n_reads, 2);
  EXPECT_EQ(layout.part_at[3], 7000u);
}

TEST(SlotLayout, MatricesInDifferentFilesNeverShareARead) {
  ExpertRecord record = record_at(0, 6528, 2 * 6528);
  record.up.parts[0].file = 1;
  EXPECT_EQ(lay_out_slot(record, 1).n_reads, 3);
}

TEST(SlotLayout, ScalesKeptApartAreReadsOfTheirOwnUnlessTheyTouch) {
  ExpertRecord record;
  uint64_t offset = 0;
  for (ExpertMatrix* matrix : {&record.gate, &record.up, &record.down}) {
    *matrix = expert_matrix(96, 64, Format::affine4, {.type = ScaleType::bf16, .group_cols = 32});
    for (Extent& part : matrix->parts) part.offset = offset += 100000;
  }
  SlotLayout layout = lay_out_slot(record, 1);
  EXPECT_EQ(layout.n_reads, 9);
  EXPECT_EQ(layout.reads[1].bytes, 96u * 2 * 2);
  record.gate.parts[2].offset = record.gate.parts[1].offset + record.gate.parts[1].bytes;
  layout = lay_out_slot(record, 1);
  EXPECT_EQ(layout.n_reads, 8);
  EXPECT_EQ(layout.read_of[2], layout.read_of[1]);
  std::vector<std::byte> slot(layout.bytes);
  const MatrixView gate = weights_in_slot(record, layout, slot.data()).gate;
  EXPECT_EQ(gate.data, slot.data() + layout.part_at[0]);
  EXPECT_EQ(gate.scales, slot.data() + layout.part_at[1]);
  EXPECT_EQ(gate.biases, gate.scales + 96 * 2 * 2);
}

TEST(SlotClasses, LayersOfOneSizeShareSlotsAndTheFloorIsOneLayersPicks) {
  for (const Layout layout : kLayouts) {
    for (const uint32_t alignment : {1u, 512u, 4096u}) {
      const auto experts = make_fake_experts(layout, 5, 8, 3, true);
      const auto classes = slot_classes(experts.table, alignment);
      ASSERT_EQ(classes.size(), 2u);
      EXPECT_EQ(classes[0].layers, (std::vector<int>{0, 2, 4}));
      EXPECT_EQ(classes[1].layers, (std::vector<int>{1, 3}));
      uint64_t floor_bytes = 0, full_bytes = 0;
      for (const SlotClass& slots : classes) {
        EXPECT_EQ(slots.n_slots, 3);
        floor_bytes += 3 * slots.slot_bytes;
        full_bytes += static_cast<uint64_t>(slots.n_records) * slots.slot_bytes;
        for (const int layer : slots.layers) {
          for (int e = 0; e < 8; ++e) {
            EXPECT_LE(lay_out_slot(experts.table.at(layer, e), alignment).bytes, slots.slot_bytes);
          }
        }
      }
      const StreamedSizes sizes = streamed_sizes(experts.table, alignment);
      EXPECT_EQ(sizes.floor_bytes, floor_bytes);
      EXPECT_EQ(sizes.full_bytes, full_bytes);
    }
  }
}

TEST(SlotClasses, AnyBudgetIsUsedWellAndNeverExceeded) {
  const auto experts = make_fake_experts(Layout::stacked, 5, 8, 3, true);
  const StreamedSizes sizes = streamed_sizes(experts.table, 4096);
  for (uint64_t budget = sizes.floor_bytes; budget <= sizes.full_bytes + 8192; budget += 4096) {
    auto classes = slot_classes(experts.table, 4096);
    share_out(classes, budget);
    ASSERT_LE(slots_bytes(classes), budget);
    for (const SlotClass& slots : classes) {
      ASSERT_LE(slots.n_slots, slots.n_records);
      ASSERT_TRUE(slots.n_slots == slots.n_records || slots.slot_bytes > budget - slots_bytes(classes));
    }
    if (budget >= sizes.full_bytes) {
      ASSERT_EQ(slots_bytes(classes), sizes.full_bytes);
    }
  }
}

TEST(SlotClasses, EachGetsItsShare) {
  const auto experts = make_fake_experts(Layout::stacked, 40, 64, 2, true);
  auto classes = slot_classes(experts.table, 1);
  const StreamedSizes sizes = streamed_sizes(experts.table, 1);
  share_out(classes, sizes.full_bytes / 4);
  for (const SlotClass& slots : classes) EXPECT_NEAR(slots.n_slots, slots.n_records / 4, 2);
}

}  // namespace
}  // namespace flashmoe
