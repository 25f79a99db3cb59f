#include "experts/unasked_queue.h"

#include <algorithm>
#include <utility>

namespace flashmoe {
namespace {

// Few beside a token, for what is wrong or not asked for yet stands in the way of what is. Four guesses keep the disk
// busy through a mixer, as far as they are mostly right; where demand does that already, two are enough:
// docs/experiments/0011.
constexpr int kGuessesAtOnce = 4;
constexpr int kGuessesBesideDemand = 2;
constexpr int kSureGuessesAtOnce = 64;  // of a prompt's step that will pick nearly every expert

}  // namespace

UnaskedQueue::UnaskedQueue(const ExpertTable& table, ExpertCache& cache, SlotReader& reader,
                           std::vector<ExpertId> warm_up)
    : cache_(cache), reader_(reader), record_(table.n_used), warm_up_(std::move(warm_up)) {
  guesses_.reserve(static_cast<size_t>(table.n_experts));
  guessed_slots_.reserve(static_cast<size_t>(table.n_experts));
}

void UnaskedQueue::guess(int layer, std::span<const int32_t> experts, int64_t n_rows, bool busy, int max_picks) {
  drop_guesses();
  const bool sure = n_rows > kGuessedRows;
  guesses_at_once_ = sure   ? std::clamp(max_picks / 4, kGuessesAtOnce, kSureGuessesAtOnce)
                     : busy ? kGuessesBesideDemand
                            : kGuessesAtOnce;
  if (!sure) record_.note(layer, experts, static_cast<size_t>(n_rows));
  for (size_t i = 0; i < experts.size(); ++i) {
    const bool wanted = sure || record_.worth_reading(i / static_cast<size_t>(n_rows));
    if (wanted && cache_.find(layer, experts[i]) == ExpertCache::kNoSlot) guesses_.push_back({layer, experts[i]});
  }
}

void UnaskedQueue::settle(int layer, std::span<const int32_t> picks) {
  record_.settle(layer, picks);
  n_guesses_begun_ = guesses_.size();
}

void UnaskedQueue::leave(int layer) {
  if (!guesses_.empty() && guesses_.front().layer == layer) drop_guesses();
}

void UnaskedQueue::drop_guesses() {
  for (const int index : guessed_slots_) {
    const Slot& slot = reader_.slot(index);
    if (slot.cause == ReadCause::guess) stats_.wasted_bytes += reader_.record_bytes(slot.id);
    reader_.forget_cause(index);
    cache_.unpin(index);
  }
  guessed_slots_.clear();
  guesses_.clear();
  n_guesses_begun_ = 0;
}

void UnaskedQueue::read(int n_warm_ups) {
  if (reader_.n_demanded() > 0) return;
  while (n_guesses_begun_ < guesses_.size() && reader_.n_reading() < guesses_at_once_) {
    if (!begin(guesses_[n_guesses_begun_], ReadCause::guess)) break;
    ++n_guesses_begun_;
  }
  while (n_warmed_up_ < warm_up_.size() && reader_.n_reading() < n_warm_ups) {
    if (!begin(warm_up_[n_warmed_up_], ReadCause::warm_up)) break;
    ++n_warmed_up_;
  }
  reader_.submit();
}

// False when there is no slot for it.
bool UnaskedQueue::begin(ExpertId id, ReadCause cause) {
  if (cache_.find(id.layer, id.expert) != ExpertCache::kNoSlot) return true;
  const bool guessed = cause == ReadCause::guess;
  const int index = guessed ? cache_.take(id.layer, id.expert) : cache_.take_empty(id.layer, id.expert);
  if (index == ExpertCache::kNoSlot) return false;
  reader_.start(index, id, cause);
  if (!guessed) return true;
  cache_.pin(index);  // until it is picked or known to be wrong
  guessed_slots_.push_back(index);
  ++stats_.guessed;
  return true;
}

}  // namespace flashmoe
