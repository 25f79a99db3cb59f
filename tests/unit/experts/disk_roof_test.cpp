#include "experts/disk_roof.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "support/expect_error.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

TEST(DiskRoof, ReadsWholeRecordsUntilAllWereReadAFewTimes) {
  for (const auto layout : kLayouts) {
    const FakeExperts experts = make_fake_experts(layout, 3, 8, 2, true);
    FakeReadQueue queue(experts.disk, 1);
    EXPECT_GT(measure_expert_reads({.table = experts.table, .files = experts.files, .seconds = 60}, queue), 0);
    EXPECT_EQ(queue.pending(), 0);
    EXPECT_GE(experts.disk->n_reads(), 4 * experts.table.records.size() / 2);
    const size_t reads_each = layout == Layout::scales_apart ? 9 : 3;
    EXPECT_LE(experts.disk->n_reads(), 4 * reads_each * experts.table.records.size() * 2);
  }
}

TEST(DiskRoof, KeepsToItsTime) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 3, 8, 2);
  FakeReadQueue queue(experts.disk, 1);
  measure_expert_reads({.table = experts.table, .files = experts.files, .seconds = 0}, queue);
  EXPECT_LE(experts.disk->n_reads(), 2u * 3);
}

TEST(DiskRoof, AFailedReadAndAnInterruptionLeaveNothingInFlight) {
  const FakeExperts experts = make_fake_experts(Layout::stacked, 1, 4, 4);
  FakeReadQueue queue(experts.disk, 1);
  const DiskProbe probe{.table = experts.table, .files = experts.files, .seconds = 60};
  DiskProbe interrupted = probe;
  interrupted.keep_going = [] { return false; };
  expect_error([&] { measure_expert_reads(interrupted, queue); }, Fault::interrupted, {"interrupted"});
  EXPECT_EQ(queue.pending(), 0);
  const Extent& down = experts.table.at(0, 2).down.parts[0];
  experts.disk->fail_at(static_cast<int>(down.file), down.offset, EIO, kAlways);
  expect_error(
      [&] { measure_expert_reads(probe, queue); }, Fault::io,
      {experts.files[down.file]->path(), "measuring the disk", "offset", "Input/output error", "; check the disk"});
  EXPECT_EQ(queue.pending(), 0);
}

}  // namespace
}  // namespace flashmoe
