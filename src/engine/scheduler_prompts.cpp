// How a scheduler reads prompts: which rows of which go into a step, and what is remembered of them.
#include <algorithm>

#include "engine/scheduler.h"

namespace flashmoe {
namespace {

constexpr int64_t kShortChunk = kDeltaChunk;  // of prompts that are read while others are answered

}  // namespace

void Scheduler::remember(Reader& reader) {
  const std::span<const int32_t> ids = reader.answer->prompt().ids;
  const auto& stops = reader.answer->prompt().stops;
  Sequence& sequence = reader.answer->sequence();
  const int64_t end = sequence.n_tokens();
  for (size_t i = 0; i < reader.copies.size(); ++i) {
    const int64_t stop = end - reader.n_rows + reader.copies[i].n_rows;
    store_.keep(ids.first(static_cast<size_t>(stop)), sequence, std::move(reader.copied[i]));
  }
  const bool copied = !reader.copies.empty() && reader.copies.back().n_rows == reader.n_rows;
  if (copied || !std::binary_search(stops.begin(), stops.end(), end)) return;
  store_.keep(ids.first(static_cast<size_t>(end)), sequence);
}

// Prompts that are short are read together, so that an expert which several of them pick is read once. Whose turn it
// is takes what it needs of the chunk, and the others what is left.
void Scheduler::add_readers() {
  int64_t left = decoding_.empty() ? parts_.session.prefill_chunk : kShortChunk;
  const size_t n = running_.size(), first = turn_;
  for (size_t i = 0; i < n; ++i) {
    RunningAnswer& answer = *running_[(first + i) % n];
    if (!answer.reading()) continue;
    left -= add_prefill(answer, left);
    if (readers_.size() == 1) turn_ = (first + i + 1) % n;
  }
}

// How many of the next n rows go into this step. It passes the reader's stops where there is memory for what is to be
// remembered there, and else ends with the first.
int64_t Scheduler::pass_stops(Reader& reader, int64_t n) {
  const auto& stops = reader.answer->prompt().stops;
  const int64_t position = reader.answer->sequence().n_tokens();
  for (auto stop = std::upper_bound(stops.begin(), stops.end(), position); stop != stops.end(); ++stop) {
    const int64_t n_rows = *stop - position;
    if (n_rows > n) break;
    std::optional<Buffer> room = store_.room_for_state(reader.answer->sequence());
    if (!room) return n_rows;
    reader.copies.push_back({n_rows, room->data()});
    reader.copied.push_back(std::move(*room));
  }
  return n;
}

// Adds at most so many rows, and returns how many. Chunks end with blocks of the delta rule, or with the prompt,
// whatever is beside them.
int64_t Scheduler::add_prefill(RunningAnswer& answer, int64_t most) {
  const std::span<const int32_t> unread = answer.unread();
  Sequence& sequence = answer.sequence();
  const int64_t n = parts_.session.forward.blocks().step_rows(unread, sequence.n_in_block(), most);
  if (n == 0) return 0;
  Reader& reader = readers_.emplace_back();
  reader.answer = &answer;
  reader.n_rows = pass_stops(reader, n);
  const bool last = reader.n_rows == static_cast<int64_t>(unread.size());
  runs_.push_back({&sequence, static_cast<int64_t>(tokens_.size()), reader.n_rows, sequence.n_tokens(), reader.copies,
                   reader.n_rows - (last ? 1 : 0)});
  tokens_.insert(tokens_.end(), unread.begin(), unread.begin() + reader.n_rows);
  return reader.n_rows;
}

// Whether a step is for nobody: its readers were cancelled, and no answer is beside them.
bool Scheduler::readers_left() const {
  return !readers_.empty() && decoding_.empty() &&
         std::ranges::all_of(readers_, [](const Reader& reader) { return reader.answer->cancelled(); });
}

}  // namespace flashmoe
