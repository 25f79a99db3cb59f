#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};

uint64_t pair_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Multiplicative hashing; the high bits are the mixed ones.
uint64_t slot_of(uint64_t pair) { return (pair * 0x9E3779B97F4A7C15u) >> 24; }

}  // namespace

// Lowest rank first, then leftmost.
bool Bpe::Scratch::comes_later(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, std::span<const MergeRule> rules) : byte_ids_(byte_ids) {
  entries_.assign(std::bit_ceil(rules.size() * 2 + 2), Entry{kNoPair, 0, 0});
  mask_ = entries_.size() - 1;
  for (size_t rank = 0; rank < rules.size(); ++rank) {
    const uint64_t pair = pair_of(rules[rank].left, rules[rank].right);
    uint64_t slot = slot_of(pair) & mask_;
    while (entries_[slot].pair != kNoPair && entries_[slot].pair != pair) slot = (slot + 1) & mask_;
    entries_[slot] = {pair, static_cast<uint32_t>(rank), rules[rank].result};
  }
}

const Bpe::Entry* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (uint64_t slot = slot_of(pair) & mask_;; slot = (slot + 1) & mask_) {
    const Entry& entry = entries_[slot];
    if (entry.pair == pair) return &entry;
    if (entry.pair == kNoPair) return nullptr;
  }
}

void Bpe::offer(Scratch& scratch, int32_t left_index) const {
  const auto& left = scratch.symbols_[static_cast<size_t>(left_index)];
  const Entry* entry = find(left.id, scratch.symbols_[static_cast<size_t>(left.next)].id);
  if (entry == nullptr) return;
  scratch.heap_.push_back({entry->rank, left_index, entry->result});
  std::push_heap(scratch.heap_.begin(), scratch.heap_.end(), Scratch::comes_later);
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  CHECK(piece.size() < (uint64_t{1} << 31));
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  symbols.clear();
  heap.clear();
  const auto n = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < n; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<size_t>(i)]);
    symbols.push_back({byte_ids_[byte], i - 1, i + 1 < n ? i + 1 : -1});
  }
  for (int32_t i = 0; i + 1 < n; ++i) offer(scratch, i);
  while (!heap.empty()) {
    const Scratch::Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end(), Scratch::comes_later);
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(best.at)];
    if (left.id < 0 || left.next < 0) continue;
    // A candidate outlives changes to its pair. Like the reference, it still counts when the new pair gives the same
    // token.
    auto& right = symbols[static_cast<size_t>(left.next)];
    const Entry* entry = find(left.id, right.id);
    if (entry == nullptr || entry->result != best.result) continue;
    left.id = best.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.at;
    if (left.previous >= 0) offer(scratch, left.previous);
    if (left.next >= 0) offer(scratch, best.at);
  }
  for (int32_t i = 0; i >= 0 && i < n; i = symbols[static_cast<size_t>(i)].next) {
    out.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

}  // namespace flashmoe
