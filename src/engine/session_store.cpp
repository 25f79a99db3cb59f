#include "engine/session_store.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/kernels.h"

namespace flashmoe {
namespace {

uint64_t tile_bytes(int64_t n_tokens, int64_t stride) { return static_cast<uint64_t>(n_tokens / kKvTile * stride); }

uint64_t kv_bytes(const KvCache& kv, int64_t n_tokens) {
  return static_cast<uint64_t>(kv.n_slots()) *
         (tile_bytes(n_tokens, kv.key_stride()) + tile_bytes(n_tokens, kv.value_stride()));
}

// Calls copy(bytes in the cache, bytes beside it, how many) for all tiles of the positions.
template <typename Copy>
void for_tiles(const KvCache& kv, int64_t first, int64_t n, std::byte* beside, Copy&& copy) {
  for (int slot = 0; slot < kv.n_slots(); ++slot) {
    const uint64_t key_bytes = tile_bytes(n, kv.key_stride()), value_bytes = tile_bytes(n, kv.value_stride());
    copy(kv.keys(slot) + tile_bytes(first, kv.key_stride()), beside, key_bytes);
    copy(kv.values(slot) + tile_bytes(first, kv.value_stride()), beside + key_bytes, value_bytes);
    beside += key_bytes + value_bytes;
  }
}

}  // namespace

// The deepest stretch behind `from` whose tokens all agree with `ids` and that ends at `most` or before.
const SessionStore::Stretch* SessionStore::longest(std::span<const int32_t> ids, const Stretch* from, int64_t most,
                                                   bool with_state) const {
  const Stretch* best = nullptr;
  const auto at = static_cast<size_t>(from == nullptr ? 0 : from->end());
  for (const auto& next : stretches_) {
    if (next->before != from || next->end() > most) continue;
    if (!std::equal(next->ids.begin(), next->ids.end(), ids.begin() + static_cast<int64_t>(at))) continue;
    const Stretch* deeper = longest(ids, next.get(), most, with_state);
    const Stretch* found = deeper != nullptr ? deeper : (!with_state || next->has_state) ? next.get() : nullptr;
    if (found != nullptr && (best == nullptr || found->end() > best->end())) best = found;
  }
  return best;
}

std::vector<SessionStore::Stretch*> SessionStore::chain(const Stretch* last) const {
  std::vector<Stretch*> all;
  for (const Stretch* s = last; s != nullptr; s = s->before) all.push_back(const_cast<Stretch*>(s));
  std::reverse(all.begin(), all.end());
  return all;
}

int64_t SessionStore::resume(std::span<const int32_t> ids, Sequence& sequence) {
  const Stretch* last = longest(ids, nullptr, static_cast<int64_t>(ids.size()) - 1, true);
  if (last == nullptr) return 0;
  ++clock_;
  sequence.kv().reserve_positions(last->end());
  for (Stretch* s : chain(last)) {
    s->used = clock_;
    for_tiles(sequence.kv(), s->n_before, s->end() - s->n_before, s->kv.data(),
              [](std::byte* cache, const std::byte* from, uint64_t n) {
                if (n > 0) std::memcpy(cache, from, n);
              });
    if (s == last) s->resumed = clock_;
  }
  const auto state = sequence.delta().span();
  std::copy(last->delta.data(), last->delta.data() + state.size(), state.begin());
  sequence.set_n_tokens(last->end());
  return last->end();
}

void SessionStore::keep_state(Stretch& stretch, const Sequence& sequence) {
  const auto state = sequence.delta().span();
  if (!make_room(state.size())) return;
  stretch.delta = Buffer(budget_, Allotted::sessions, state.size());
  std::copy(state.begin(), state.end(), stretch.delta.data());
  stretch.has_state = true;
}

void SessionStore::keep(std::span<const int32_t> ids, const Sequence& sequence) {
  const auto n = static_cast<int64_t>(ids.size());
  CHECK(n % kDeltaChunk == 0 && sequence.n_tokens() == n);
  if (n == 0) return;
  const Stretch* before = longest(ids, nullptr, n, false);
  ++clock_;
  for (Stretch* s : chain(before)) s->used = clock_;
  if (before != nullptr && before->end() == n) {
    auto& known = *chain(before).back();
    known.resumed = clock_;
    if (!known.has_state) keep_state(known, sequence);
    return;
  }
  const int64_t n_before = before == nullptr ? 0 : before->end();
  const uint64_t bytes = kv_bytes(sequence.kv(), n - n_before);
  // Both or none: keys and values without a state behind them serve nobody.
  if (!make_room(bytes + sequence.delta().span().size())) return;
  auto stretch = std::make_unique<Stretch>();
  stretch->before = before;
  stretch->n_before = n_before;
  stretch->ids.assign(ids.begin() + n_before, ids.end());
  stretch->used = stretch->resumed = clock_;
  stretch->kv = Buffer(budget_, Allotted::sessions, bytes);
  for_tiles(sequence.kv(), n_before, n - n_before, stretch->kv.data(),
            [](const std::byte* cache, std::byte* to, uint64_t count) {
              if (count > 0) std::memcpy(to, cache, count);
            });
  keep_state(*stretch, sequence);
  stretches_.push_back(std::move(stretch));
}

bool SessionStore::is_leaf(const Stretch& stretch) const {
  return std::none_of(stretches_.begin(), stretches_.end(), [&](const auto& s) { return s->before == &stretch; });
}

// A leaf goes as a whole; one that others go on from gives up its state alone.
bool SessionStore::make_room(uint64_t bytes) {
  while (budget_.used(Allotted::sessions) + bytes > budget_.allotted(Allotted::sessions)) {
    Place oldest = stretches_.end();
    uint64_t oldest_use = clock_;  // what is in use now stays
    for (Place p = stretches_.begin(); p != stretches_.end(); ++p) {
      const bool leaf = is_leaf(**p);
      if (!leaf && (!(*p)->has_state || (*p)->delta.size() == 0)) continue;
      const uint64_t use = leaf ? (*p)->used : (*p)->resumed;
      if (use < oldest_use) oldest = p, oldest_use = use;
    }
    if (oldest == stretches_.end()) return false;
    if (is_leaf(**oldest)) {
      stretches_.erase(oldest);
    } else {
      (*oldest)->delta = Buffer();
      (*oldest)->has_state = false;
    }
  }
  return true;
}

uint64_t SessionStore::n_stops() const {
  return static_cast<uint64_t>(
      std::count_if(stretches_.begin(), stretches_.end(), [](const auto& s) { return s->has_state; }));
}

}  // namespace flashmoe
