#include "engine/session_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "kernels/kernels.h"

namespace flashmoe {
namespace {

int64_t n_tiles(int64_t first, int64_t end) { return (end + kKvTile - 1) / kKvTile - first / kKvTile; }

uint64_t kv_bytes(const KvCache& kv, int64_t first, int64_t end) {
  return static_cast<uint64_t>(kv.n_slots() * n_tiles(first, end) * (kv.key_stride() + kv.value_stride()));
}

// All tiles with positions in [first, end). A tile that two stretches share is kept with each.
SessionBytes tiles_of(KvCache& kv, int64_t first, int64_t end) {
  SessionBytes tiles;
  const int64_t tile = first / kKvTile, n = n_tiles(first, end);
  for (int slot = 0; slot < kv.n_slots(); ++slot) {
    tiles.emplace_back(kv.keys(slot) + tile * kv.key_stride(), static_cast<size_t>(n * kv.key_stride()));
    tiles.emplace_back(kv.values(slot) + tile * kv.value_stride(), static_cast<size_t>(n * kv.value_stride()));
  }
  return tiles;
}

SessionBytes state_of(Sequence& sequence) { return {sequence.delta().span()}; }

void gather(const SessionBytes& from, std::byte* to) {
  for (const auto& piece : from) {
    if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
}

void scatter(const std::byte* from, const SessionBytes& to) {
  for (const auto& piece : to) {
    if (!piece.empty()) std::memcpy(piece.data(), from, piece.size());
    from += piece.size();
  }
}

}  // namespace

void SessionStore::recall(std::vector<SessionFolder::Found> found, const Sequence& like, int64_t vocab_size) {
  std::erase_if(found, [](const auto& file) { return file.record.part == SessionPart::words; });
  // Those that others go on from come first, and states behind the stretches that they end.
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.record.ids.size(), a.record.part) < std::pair(b.record.ids.size(), b.record.part);
  });
  for (const auto& [record, payload_bytes] : found) {
    const auto n = static_cast<int64_t>(record.ids.size());
    const bool fits =
        n > 0 && n <= like.context_tokens() && record.n_before < n && blocks_.last_end(record.ids) == n &&
        std::all_of(record.ids.begin(), record.ids.end(), [&](int32_t id) { return id >= 0 && id < vocab_size; });
    if (!fits) continue;
    if (record.part == SessionPart::state) {
      Stretch* last = longest(record.ids, nullptr, n, EndsIn::anything);
      const bool ends_one = last != nullptr && last->end() == n;
      if (ends_one && payload_bytes == like.delta().span().size()) last->state.file = folder_->name_of(record);
      continue;
    }
    Stretch* before = longest(record.ids, nullptr, record.n_before, EndsIn::anything);
    if ((before == nullptr ? 0 : before->end()) != record.n_before ||
        payload_bytes != kv_bytes(like.kv(), record.n_before, n)) {
      continue;
    }
    auto stretch = std::make_unique<Stretch>();
    stretch->before = before;
    stretch->n_before = record.n_before;
    stretch->ids.assign(record.ids.begin() + record.n_before, record.ids.end());
    stretch->kv.file = folder_->name_of(record);
    stretches_.push_back(std::move(stretch));
  }
}

// The deepest stretch behind `from` whose tokens all agree with `ids` and that ends at `most` or before.
SessionStore::Stretch* SessionStore::longest(std::span<const int32_t> ids, const Stretch* from, int64_t most,
                                             EndsIn what) const {
  Stretch* best = nullptr;
  const auto at = static_cast<size_t>(from == nullptr ? 0 : from->end());
  for (const auto& next : stretches_) {
    if (next->before != from || next->end() > most) continue;
    if (!std::equal(next->ids.begin(), next->ids.end(), ids.begin() + static_cast<int64_t>(at))) continue;
    Stretch* deeper = longest(ids, next.get(), most, what);
    Stretch* found = deeper != nullptr                                   ? deeper
                     : (what == EndsIn::anything || next->state.known()) ? next.get()
                                                                         : nullptr;
    if (found != nullptr && (best == nullptr || found->end() > best->end())) best = found;
  }
  return best;
}

std::vector<SessionStore::Stretch*> SessionStore::chain(Stretch* last) const {
  std::vector<Stretch*> all;
  for (Stretch* s = last; s != nullptr; s = s->before) all.push_back(s);
  std::reverse(all.begin(), all.end());
  return all;
}

SessionRecord SessionStore::record_of(Stretch& stretch, SessionPart part) const {
  SessionRecord record;
  record.part = part;
  record.n_before = part == SessionPart::kv ? stretch.n_before : 0;
  for (const Stretch* s : chain(&stretch)) record.ids.insert(record.ids.end(), s->ids.begin(), s->ids.end());
  return record;
}

bool SessionStore::knows(std::span<const int32_t> ids) {
  forget_removed();
  const auto n = static_cast<int64_t>(ids.size());
  const Stretch* last = longest(ids, nullptr, n, EndsIn::state);
  return last != nullptr && last->end() == n;
}

int64_t SessionStore::resume(std::span<const int32_t> ids, Sequence& sequence) {
  forget_removed();
  // What turns out to be unreadable is forgotten, and the next best taken.
  while (Stretch* last = longest(ids, nullptr, static_cast<int64_t>(ids.size()) - 1, EndsIn::state)) {
    if (!take_over(*last, sequence)) continue;
    sequence.set_n_tokens(last->end(), 0);
    return last->end();
  }
  return 0;
}

bool SessionStore::take_over(Stretch& last, Sequence& sequence) {
  ++clock_;
  sequence.kv().reserve_positions(last.end());
  const auto all = chain(&last);
  for (Stretch* s : all) s->used = clock_;
  last.resumed = clock_;
  for (Stretch* s : all) {
    if (!load(*s, SessionPart::kv, tiles_of(sequence.kv(), s->n_before, s->end()))) return false;
  }
  if (!load(last, SessionPart::state, state_of(sequence))) {
    const auto state = sequence.delta().span();
    std::fill(state.begin(), state.end(), std::byte{0});
    return false;
  }
  // Last of all those that the others go on from: they go last.
  if (last.state.on_disk()) folder_->touch(record_of(last, SessionPart::state));
  for (auto s = all.rbegin(); s != all.rend(); ++s) {
    if ((*s)->kv.on_disk()) folder_->touch(record_of(**s, SessionPart::kv));
  }
  return true;
}

// False when the part was only on disk and cannot be read: then it is forgotten, with what goes on from it.
bool SessionStore::load(Stretch& stretch, SessionPart which, const SessionBytes& into) {
  Part& part = stretch.part(which);
  if (part.in_memory) {
    scatter(part.memory.data(), into);
    return true;
  }
  if (folder_->read(record_of(stretch, which), into)) {
    hold(stretch, which, into);
    return true;
  }
  part.file.clear();
  if (which == SessionPart::kv) forget(stretch);
  return false;
}

// Memory for a part; nothing where sessions may not have so much, or the system gives none.
std::optional<Buffer> SessionStore::room(uint64_t bytes) {
  if (!make_room(bytes)) return std::nullopt;
  try {
    return bytes == 0 ? Buffer() : Buffer(budget_, Allotted::sessions, bytes);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool SessionStore::hold(Stretch& stretch, SessionPart which, const SessionBytes& bytes) {
  std::optional<Buffer> memory = room(size_of(bytes));
  if (!memory) return false;
  gather(bytes, memory->data());
  Part& part = stretch.part(which);
  part.memory = std::move(*memory);
  return part.in_memory = true;
}

// In memory, or where that has no room, on disk at once.
bool SessionStore::keep_part(Stretch& stretch, SessionPart which, const SessionBytes& bytes) {
  return hold(stretch, which, bytes) || write(stretch, which, bytes);
}

std::optional<Buffer> SessionStore::room_for_state(const Sequence& sequence) {
  ++clock_;  // what the sequence went on from may go, too
  return room(sequence.delta().span().size());
}

void SessionStore::keep(std::span<const int32_t> ids, Sequence& sequence) {
  CHECK(sequence.n_tokens() == static_cast<int64_t>(ids.size()));
  remember(ids, sequence, std::nullopt);
}

// With the state at its end, or nothing: the sequence's own.
void SessionStore::remember(std::span<const int32_t> ids, Sequence& sequence, std::optional<Buffer> state) {
  const auto n = static_cast<int64_t>(ids.size());
  CHECK(blocks_.last_end(ids) == n && sequence.n_tokens() >= n);
  const auto keep_state = [&](Stretch& stretch) {
    if (!state) return keep_part(stretch, SessionPart::state, state_of(sequence));
    stretch.state.memory = std::move(*state);
    return stretch.state.in_memory = true;
  };
  if (n == 0) return;
  Stretch* before = longest(ids, nullptr, n, EndsIn::anything);
  ++clock_;
  for (Stretch* s : chain(before)) s->used = clock_;
  if (before != nullptr && before->end() == n) {
    before->resumed = clock_;
    if (!before->state.known()) keep_state(*before);
    return;
  }
  const int64_t n_before = before == nullptr ? 0 : before->end();
  auto made = std::make_unique<Stretch>();
  made->before = before;
  made->n_before = n_before;
  made->ids.assign(ids.begin() + n_before, ids.end());
  made->used = made->resumed = clock_;
  // Both or none: keys and values without a state behind them serve nobody.
  Stretch& stretch = *stretches_.emplace_back(std::move(made));
  if (!keep_part(stretch, SessionPart::kv, tiles_of(sequence.kv(), n_before, n)) || !keep_state(stretch)) {
    forget(stretch);
  }
}

// What it goes on from is written first, and counts as used later.
bool SessionStore::write(Stretch& stretch, SessionPart which, const SessionBytes& bytes) {
  if (folder_ == nullptr || folder_->resting()) return false;
  auto all = chain(&stretch);
  if (which == SessionPart::kv) all.pop_back();
  for (Stretch* s : all) {
    if (!s->kv.on_disk() && !write(*s, SessionPart::kv, {s->kv.memory.span()})) return false;
  }
  const SessionRecord record = record_of(stretch, which);
  if (!folder_->write(record, bytes)) return false;
  stretch.part(which).file = folder_->name_of(record);
  for (auto s = all.rbegin(); s != all.rend(); ++s) folder_->touch(record_of(**s, SessionPart::kv));
  return true;
}

bool SessionStore::save(Stretch& stretch, SessionPart which) {
  return write(stretch, which, {stretch.part(which).memory.span()});
}

bool SessionStore::save_one() {
  forget_removed();
  if (folder_ == nullptr || folder_->resting()) return false;
  for (const auto& s : stretches_) {
    for (const SessionPart which : {SessionPart::kv, SessionPart::state}) {
      const Part& part = s->part(which);
      if (part.in_memory && !part.on_disk()) return save(*s, which);
    }
  }
  return false;
}

// Keys and values that end in no state, and lead to none, serve nobody.
bool SessionStore::serves(const Stretch& stretch) const {
  return stretch.kv.known() && (stretch.state.known() || has_next(stretch, Kept::anywhere));
}

// What was on disk alone, and is not any more: removed for others that needed the room, by this process or another.
void SessionStore::forget_removed() {
  if (folder_ == nullptr || std::exchange(n_removals_seen_, folder_->n_removals()) == folder_->n_removals()) return;
  for (const auto& s : stretches_) {
    for (Part* part : {&s->kv, &s->state}) {
      if (!part->in_memory && part->on_disk() && !folder_->had(part->file)) part->file.clear();
    }
  }
  const auto useless = [this] {
    return std::find_if(stretches_.begin(), stretches_.end(), [this](const auto& s) { return !serves(*s); });
  };
  for (auto at = useless(); at != stretches_.end(); at = useless()) forget(**at);
}

// With all that goes on from it.
void SessionStore::forget(Stretch& stretch) {
  for (bool found = true; found;) {
    const auto next =
        std::find_if(stretches_.begin(), stretches_.end(), [&](const auto& s) { return s->before == &stretch; });
    found = next != stretches_.end();
    if (found) forget(**next);
  }
  std::erase_if(stretches_, [&](const auto& s) { return s.get() == &stretch; });
}

bool SessionStore::has_next(const Stretch& stretch, Kept where) const {
  return std::any_of(stretches_.begin(), stretches_.end(), [&](const auto& s) {
    return s->before == &stretch && (where == Kept::anywhere || s->kv.in_memory);
  });
}

// Keys and values that others in memory go on from stay; their states go alone.
bool SessionStore::make_room(uint64_t bytes) {
  if (bytes > budget_.allotted(Allotted::sessions)) return false;
  while (budget_.used(Allotted::sessions) + bytes > budget_.allotted(Allotted::sessions)) {
    Stretch* oldest = nullptr;
    SessionPart which = SessionPart::kv;
    uint64_t oldest_use = clock_;  // what is in use now stays
    for (const auto& s : stretches_) {
      const bool leaf = s->kv.in_memory && !has_next(*s, Kept::in_memory);
      const bool state = s->state.in_memory && s->state.memory.size() > 0;
      if (!leaf && !state) continue;
      const uint64_t use = leaf ? s->used : s->resumed;
      if (use >= oldest_use) continue;
      oldest = s.get();
      which = state ? SessionPart::state : SessionPart::kv;
      oldest_use = use;
    }
    if (oldest == nullptr) return false;
    leave_memory(*oldest, which);
  }
  return true;
}

void SessionStore::leave_memory(Stretch& stretch, SessionPart which) {
  Part& part = stretch.part(which);
  if (!part.on_disk()) save(stretch, which);
  part.memory = Buffer();
  part.in_memory = false;
  if (!serves(stretch)) forget(stretch);
}

uint64_t SessionStore::n_stops() const {
  return static_cast<uint64_t>(
      std::count_if(stretches_.begin(), stretches_.end(), [](const auto& s) { return s->state.in_memory; }));
}

}  // namespace flashmoe
