// Where the delta rule's blocks end: behind a token that ends a turn, and after kDeltaChunk tokens. What a conversation
// begins with is so cut in the same way whatever follows (docs/decisions/0014).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace flashmoe {

class DeltaBlocks {
 public:
  // Ids of the tokens that end a turn, in ascending order.
  explicit DeltaBlocks(std::vector<int32_t> turn_ends = {}) : turn_ends_(std::move(turn_ends)) {}

  bool ends_turn(int32_t id) const { return std::binary_search(turn_ends_.begin(), turn_ends_.end(), id); }
  // How many of `ids` lie in the block that holds ids[0], of which `n_before` tokens came before; nothing when the
  // block does not end within `ids`.
  std::optional<int64_t> rest_of_block(std::span<const int32_t> ids, int64_t n_before) const;
  // How many of `ids` a step of at most `most` (kDeltaChunk or more) rows takes: all, or as many as end with a block.
  int64_t step_rows(std::span<const int32_t> ids, int64_t n_before, int64_t most) const;
  // Where the last block ends in `ids`, behind `n_before` tokens of their first block; 0 when none does.
  int64_t last_end(std::span<const int32_t> ids, int64_t n_before = 0) const;

 private:
  std::vector<int32_t> turn_ends_;
};

}  // namespace flashmoe
