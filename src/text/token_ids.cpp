#include "text/token_ids.h"

#include <bit>
#include <functional>

#include "base/check.h"

namespace flashmoe {
namespace {

uint32_t hash_of(std::string_view text) {
  const auto hash = uint64_t{std::hash<std::string_view>()(text)};
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

TokenIds::TokenIds(size_t n) : slots_(std::bit_ceil(n * 2 + 2), Slot{0, -1}) { entries_.reserve(n); }

size_t TokenIds::slot_of(std::string_view text, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.entry < 0) return at;
    if (slot.hash == hash && entries_[static_cast<size_t>(slot.entry)].text == text) return at;
  }
}

std::optional<int32_t> TokenIds::add(std::string_view text, int32_t id) {
  const uint32_t hash = hash_of(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.entry >= 0) return entries_[static_cast<size_t>(slot.entry)].id;
  CHECK(entries_.size() * 2 < slots_.size());
  slot = {hash, static_cast<int32_t>(entries_.size())};
  entries_.push_back({text, id});
  return std::nullopt;
}

std::optional<int32_t> TokenIds::find(std::string_view text) const {
  const Slot& slot = slots_[slot_of(text, hash_of(text))];
  if (slot.entry < 0) return std::nullopt;
  return entries_[static_cast<size_t>(slot.entry)].id;
}

}  // namespace flashmoe
