#include "model/delta_blocks.h"

#include "kernels/kernels.h"

namespace flashmoe {

std::optional<int64_t> DeltaBlocks::rest_of_block(std::span<const int32_t> ids, int64_t n_before) const {
  const auto most = static_cast<size_t>(kDeltaChunk - n_before);
  for (size_t i = 0; i < std::min(ids.size(), most); ++i) {
    if (ends_turn(ids[i])) return static_cast<int64_t>(i) + 1;
  }
  return ids.size() < most ? std::nullopt : std::optional(kDeltaChunk - n_before);
}

int64_t DeltaBlocks::step_rows(std::span<const int32_t> ids, int64_t n_before, int64_t most) const {
  if (static_cast<int64_t>(ids.size()) <= most) return static_cast<int64_t>(ids.size());
  int64_t n = 0;
  while (const auto rest = rest_of_block(ids.subspan(static_cast<size_t>(n)), n_before)) {
    if (n + *rest > most) break;
    n += *rest;
    n_before = 0;
  }
  return n;
}

int64_t DeltaBlocks::last_end(std::span<const int32_t> ids, int64_t n_before) const {
  int64_t n = 0;
  while (const auto rest = rest_of_block(ids.subspan(static_cast<size_t>(n)), n_before)) {
    n += *rest;
    n_before = 0;
  }
  return n;
}

}  // namespace flashmoe
