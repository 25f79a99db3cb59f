#include "model/delta_blocks.h"

#include <gtest/gtest.h>

#include "kernels/kernels.h"

namespace flashmoe {
namespace {

constexpr int32_t kEnd = 9;
static_assert(kDeltaChunk == 64);

std::vector<int32_t> ids_with_ends(size_t n, const std::vector<size_t>& ends) {
  std::vector<int32_t> ids(n, 1);
  for (const size_t end : ends) ids[end - 1] = kEnd;
  return ids;
}

TEST(DeltaBlocks, EndBehindATurnAndAfterAChunk) {
  const DeltaBlocks blocks({3, kEnd});
  const auto ids = ids_with_ends(200, {10, 11, 75});
  std::vector<int64_t> ends;
  std::span<const int32_t> rest = ids;
  while (const auto n = blocks.rest_of_block(rest, 0)) {
    rest = rest.subspan(static_cast<size_t>(*n));
    ends.push_back(static_cast<int64_t>(ids.size() - rest.size()));
  }
  EXPECT_EQ(ends, (std::vector<int64_t>{10, 11, 75, 139}));  // 75 ends a turn and would have ended a chunk
  EXPECT_EQ(blocks.last_end(ids), 139);
  EXPECT_EQ(blocks.last_end(std::span(ids).first(63)), 11);
  EXPECT_EQ(blocks.last_end({}), 0);
  EXPECT_EQ(DeltaBlocks().last_end(ids), 192);
}

TEST(DeltaBlocks, ABlockGoesOnWhereAStepEnded) {
  const DeltaBlocks blocks({kEnd});
  const auto ids = ids_with_ends(30, {20});
  EXPECT_EQ(blocks.rest_of_block(ids, 40), 20);
  EXPECT_EQ(blocks.rest_of_block(ids, 50), 14);
  EXPECT_EQ(blocks.rest_of_block(std::span(ids).first(13), 50), std::nullopt);
  EXPECT_EQ(blocks.rest_of_block(std::span(ids).first(14), 50), 14);
}

TEST(DeltaBlocks, StepsTakeWholeBlocksOrAll) {
  const DeltaBlocks blocks({kEnd});
  const auto ids = ids_with_ends(300, {10, 30});
  EXPECT_EQ(blocks.step_rows(ids, 0, 64), 30);
  EXPECT_EQ(blocks.step_rows(ids, 0, 128), 94);
  EXPECT_EQ(blocks.step_rows(ids, 60, 64), 30);  // 4, then 6, then 20
  EXPECT_EQ(blocks.step_rows(ids, 0, 300), 300);
  EXPECT_EQ(blocks.step_rows(ids, 0, 299), 286);
  EXPECT_EQ(blocks.step_rows(std::span(ids).first(5), 3, 64), 5);
}

}  // namespace
}  // namespace flashmoe
