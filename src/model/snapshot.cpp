#include "model/snapshot.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

Buffer take(Budget& budget, Allotted what, uint64_t bytes) {
  Buffer buffer = Buffer::reserve(budget, what, bytes);
  if (!buffer.grow(bytes)) fail(Fault::memory_floor, "no memory is left for a snapshot of {} bytes", bytes);
  return buffer;
}

}  // namespace

Snapshot::Snapshot(const Sequence& sequence, Budget& budget)
    : n_tokens_(sequence.n_tokens()), n_in_block_(sequence.n_in_block()) {
  const KvCache& kv = sequence.kv();
  const uint64_t key_bytes = kv.key_bytes(n_tokens_), value_bytes = kv.value_bytes(n_tokens_);
  kv_ = take(budget, Allotted::kv_cache, (key_bytes + value_bytes) * static_cast<uint64_t>(kv.n_slots()));
  std::byte* to = kv_.data();
  for (int slot = 0; slot < kv.n_slots() && key_bytes > 0; ++slot) {
    std::memcpy(to, kv.keys(slot), key_bytes);
    std::memcpy(to + key_bytes, kv.values(slot), value_bytes);
    to += key_bytes + value_bytes;
  }
  const auto delta = sequence.delta().span();
  delta_ = take(budget, Allotted::delta_state, delta.size());
  std::copy(delta.begin(), delta.end(), delta_.data());
}

void Snapshot::restore(Sequence& sequence) const {
  KvCache& kv = sequence.kv();
  const uint64_t key_bytes = kv.key_bytes(n_tokens_), value_bytes = kv.value_bytes(n_tokens_);
  CHECK(kv_.size() >= (key_bytes + value_bytes) * static_cast<uint64_t>(kv.n_slots()));
  kv.reserve_positions(n_tokens_);
  const std::byte* from = kv_.data();
  for (int slot = 0; slot < kv.n_slots() && key_bytes > 0; ++slot) {
    std::memcpy(kv.keys(slot), from, key_bytes);
    std::memcpy(kv.values(slot), from + key_bytes, value_bytes);
    from += key_bytes + value_bytes;
  }
  const auto delta = sequence.delta().span();
  std::copy(delta_.data(), delta_.data() + delta.size(), delta.begin());
  sequence.set_n_tokens(n_tokens_, n_in_block_);
}

}  // namespace flashmoe
