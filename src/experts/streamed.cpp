#include "experts/streamed.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "experts/cache.h"
#include "experts/cache_memory.h"
#include "experts/lease_table.h"
#include "experts/read_ahead.h"
#include "experts/slot_reader.h"
#include "experts/unasked_queue.h"
#include "experts/use_record.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBusyMisses = 2;  // of a layer, on average over the token before: demand occupies the disk
// Experts that are computed before the drive is looked after again: a prompt's hits alone would take it tens of
// milliseconds, and it has no more than its queue's depth to do meanwhile.
constexpr size_t kHandedAtOnce = 8;
constexpr int kWarmUpsBesideToken = 1;
constexpr int kWarmUpsAtOnce = 8;
constexpr auto kIdleAfter = std::chrono::milliseconds(20);  // without a call
constexpr auto kIdlePause = std::chrono::microseconds(300);

// Without knowing which experts will be used, filling a part of the cache with any of them is of no use.
std::vector<ExpertId> what_to_warm_up(const ExpertTable& table, const CacheMemory& memory,
                                      std::span<const float> rates) {
  const int n_records = table.n_layers * table.n_experts;
  if (memory.fewest_slots(n_records) < n_records && rates.empty()) return {};
  return most_used_first(table.n_layers, table.n_experts, rates);
}

class StreamedExperts final : public ExpertSource {
 public:
  StreamedExperts(ExpertTable table, std::vector<std::shared_ptr<File>> files, std::unique_ptr<ReadQueue> queue,
                  const StreamedOptions& options, Budget& budget)
      : table_(std::move(table)),
        direct_(options.direct),
        budget_(budget),
        memory_(table_, options.alignment, budget, options.prefault_threads),
        missing_bytes_(options.missing_bytes),
        cache_(table_.n_layers, table_.n_experts, cache_classes(memory_.classes())),
        read_ahead_(options.read_ahead),
        interleave_for_(options.interleave_for),
        pool_(options.pool),
        use_(table_),
        reader_(table_, std::move(files), std::move(queue),
                {options.direct, options.alignment, options.verify, options.drop_behind}, memory_.places()),
        unasked_(table_, cache_, reader_, what_to_warm_up(table_, memory_, options.rates)) {
    count_slots();
    if (!options.rates.empty()) cache_.expect(options.rates);
    warms_up_ = options.warm_up && unasked_.warms_up();
    if (warms_up_) idle_thread_ = Thread([this] { fill_while_idle(); });
    budget_.set_give_back([this] {
      const std::lock_guard lock(mutex_);
      follow(std::min(memory_.limit_bytes(), memory_.bytes()));
    });
  }

  ~StreamedExperts() override {
    budget_.set_give_back({});
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (idle_thread_.joinable()) idle_thread_.join();
  }
  StreamedExperts(const StreamedExperts&) = delete;
  StreamedExperts& operator=(const StreamedExperts&) = delete;

  using ExpertSource::acquire;
  Lease acquire(int layer, const Picks& picks) override;
  int max_picks() const override { return max_picks_; }
  void begin_step() override;
  bool wants_guess() const override;
  void guess(int layer, std::span<const int32_t> experts, int64_t n_rows) override;
  void keep_reading() override;

  void fill(const std::function<void(uint64_t)>& on_bytes) override;

  CacheStats cache_stats() const override {
    const std::lock_guard lock(mutex_);
    CacheStats stats = stats_;
    stats.bytes = memory_.bytes();
    stats.lent_bytes = memory_.lent_bytes();
    return stats;
  }
  IoStats io_stats() const override;
  UnaskedReads unasked_reads() const override {
    const std::lock_guard lock(mutex_);
    return {unasked_.stats().guessed, unasked_.n_warmed_up()};
  }
  std::span<const int32_t> slots_given_back() const override { return memory_.slots_given_back(); }
  UseRates use_rates() const override;
  void end_before(int layer, int64_t n_rows) override {
    const std::lock_guard lock(mutex_);
    use_.note_ended(layer, n_rows);
  }

 protected:
  std::span<const int32_t> next_arrived(int id) override;
  const ExpertWeights& wait_for(int id, int i) override;
  bool is_complete(int id) const override { return leases_.at(id).all_here; }
  std::span<const Outcome> outcomes_of(int id) const override { return leases_.at(id).outcomes; }
  void release(int id) noexcept override;

 private:
  void count_slots();
  void follow(uint64_t bytes);
  void note_use(int layer, const Picks& picks);
  int start_reading(int layer, int expert);
  Outcome take_found(int slot);
  void take_arrivals(bool block);
  void interleave_weights(const LeaseState& lease, std::span<const int32_t> picks);
  void read_unasked();
  void fill_while_idle();

  ExpertTable table_;
  bool direct_;
  Budget& budget_;
  CacheMemory memory_;
  std::function<uint64_t()> missing_bytes_;
  ExpertCache cache_;
  ReadAhead read_ahead_;
  const KernelTable* interleave_for_;
  ThreadPool* pool_;
  std::vector<Interleaving> as_stored_;               // of one call
  uint64_t misses_before_ = 0, misses_of_token_ = 0;  // up to the token that runs; of the one before
  int max_picks_ = 0;
  bool holds_all_ = false;  // every expert has a slot

  LeaseTable leases_;
  bool warms_up_ = false;  // unless fill() is called
  UseCount use_;
  CacheStats stats_;
  uint64_t bytes_read_ = 0, warm_up_bytes_ = 0;
  SlotReader reader_;  // its queue's destructor waits for reads into memory_
  UnaskedQueue unasked_;

  // The idle thread and the callers take turns.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t n_calls_ = 0;
  bool stopping_ = false;
  Thread idle_thread_;
};

void StreamedExperts::count_slots() {
  const int n_records = table_.n_layers * table_.n_experts;
  max_picks_ = memory_.fewest_slots(n_records);
  holds_all_ = max_picks_ == n_records;
}

void StreamedExperts::begin_step() {
  const uint64_t most = memory_.limit_bytes();
  const uint64_t missing = missing_bytes_ ? std::min(missing_bytes_(), most) : 0;
  const std::lock_guard lock(mutex_);
  follow(most - missing);
  stats_.given_back_bytes = missing > 0 ? most - std::min(most, memory_.bytes()) : 0;
}

void StreamedExperts::follow(uint64_t bytes) {
  CHECK(leases_.none_open());
  take_arrivals(false);
  // Slots that nobody waits for are pinned while they are read into, and by guesses.
  while (!memory_.follow(bytes, cache_, [this](int from, int to) { reader_.move(from, to); })) {
    unasked_.drop_guesses();
    take_arrivals(true);
  }
  count_slots();
}

Lease StreamedExperts::acquire(int layer, const Picks& picks) {
  const std::lock_guard lock(mutex_);
  const size_t n = picks.experts.size();
  const int id = leases_.open(layer, n);
  LeaseState& lease = leases_.at(id);
  note_use(layer, picks);
  // What is there is pinned first: making room for the others must not evict it.
  for (size_t i = 0; i < n; ++i) {
    CHECK(picks.experts[i] >= 0 && picks.experts[i] < table_.n_experts);
    const int slot = cache_.find(layer, picks.experts[i]);
    lease.slots[i] = slot;
    if (slot == ExpertCache::kNoSlot) continue;
    cache_.pin(slot);
    lease.outcomes[i] = take_found(slot);
  }
  for (size_t i = 0; i < n; ++i) {
    int& slot = lease.slots[i];
    if (slot == ExpertCache::kNoSlot) slot = start_reading(layer, picks.experts[i]);
    lease.all_here = lease.all_here && reader_.slot(slot).state == Slot::State::ready;
  }
  reader_.submit();
  read_unasked();
  return {this, id};
}

void StreamedExperts::note_use(int layer, const Picks& picks) {
  ++n_calls_;
  cache_.use(layer, picks);
  use_.note(layer, picks);
  unasked_.settle(layer, picks.experts);
  if (layer != 0) return;
  misses_of_token_ = stats_.misses - std::exchange(misses_before_, stats_.misses);
  read_ahead_.begin_step(now_ns(), picks.n_rows);
}

// A pick that is in a slot already, pinned: read, or on its way.
Outcome StreamedExperts::take_found(int index) {
  const Slot& slot = reader_.slot(index);
  const bool here = slot.state == Slot::State::ready, guessed = slot.cause == ReadCause::guess;
  if (guessed) unasked_.note_used();
  if (guessed && here) bytes_read_ += slot.bytes;
  ++(here && !guessed ? stats_.hits : stats_.misses);
  reader_.demand(index);
  return guessed ? Outcome::guessed : here ? Outcome::hit : Outcome::on_its_way;
}

// Finds the expert a slot, pinned for the caller and for its reads.
int StreamedExperts::start_reading(int layer, int expert) {
  int index = cache_.take(layer, expert);
  while (index == ExpertCache::kNoSlot) {
    // All slots are pinned: by leases, which max_picks() bounds, by guesses, or by reads that nobody waits for.
    unasked_.drop_guesses();
    index = cache_.take(layer, expert);
    if (index != ExpertCache::kNoSlot) break;
    CHECK(reader_.n_reading() > 0);
    reader_.submit();
    take_arrivals(true);
    index = cache_.take(layer, expert);
  }
  cache_.pin(index);
  reader_.start(index, {layer, expert}, ReadCause::demand);
  ++stats_.misses;
  return index;
}

void StreamedExperts::take_arrivals(bool block) {
  reader_.take_arrivals(block, [&](int index) {
    const Slot& slot = reader_.slot(index);
    if (slot.cause == ReadCause::demand) bytes_read_ += slot.bytes;
    if (slot.cause == ReadCause::warm_up) warm_up_bytes_ += slot.bytes;
    if (slot.state == Slot::State::failed) cache_.forget(index);
    cache_.unpin(index);
  });
}

// As a loop of its own: one thread alone spent 5 of 81 ms of a token on it.
void StreamedExperts::interleave_weights(const LeaseState& lease, std::span<const int32_t> picks) {
  if (interleave_for_ == nullptr) return;
  as_stored_.clear();
  for (const int32_t pick : picks) {
    for (const Interleaving& matrix : reader_.matrices(lease.slots[static_cast<size_t>(pick)])) {
      if (!matrix.w->interleaved && can_interleave(*interleave_for_, *matrix.w)) as_stored_.push_back(matrix);
    }
  }
  if (!as_stored_.empty()) interleave(*interleave_for_, as_stored_, *pool_);
}

// In the gaps between what a token demands.
void StreamedExperts::read_unasked() { unasked_.read(direct_ && warms_up_ ? kWarmUpsBesideToken : 0); }

bool StreamedExperts::wants_guess() const {
  if (holds_all_) return false;
  const std::lock_guard lock(mutex_);
  return read_ahead_.on();
}

void StreamedExperts::guess(int layer, std::span<const int32_t> experts, int64_t n_rows) {
  const std::lock_guard lock(mutex_);
  const bool busy = misses_of_token_ >= kBusyMisses * static_cast<uint64_t>(table_.n_layers);
  unasked_.guess(layer, experts, n_rows, busy, max_picks_);
  take_arrivals(false);
  read_unasked();
}

void StreamedExperts::keep_reading() {
  if (holds_all_) return;
  const std::lock_guard lock(mutex_);
  if (reader_.n_reading() == 0) return;
  take_arrivals(false);
  read_unasked();
}

std::span<const int32_t> StreamedExperts::next_arrived(int id) {
  const std::lock_guard lock(mutex_);
  ++n_calls_;
  take_arrivals(false);
  while (true) {
    leases_.hand_out(id, reader_, holds_all_ ? SIZE_MAX : std::max(kHandedAtOnce, static_cast<size_t>(table_.n_used)));
    const LeaseState& lease = leases_.at(id);
    if (!lease.handed.empty() || lease.outstanding.empty()) {
      read_unasked();
      interleave_weights(lease, lease.handed);
      return lease.handed;
    }
    take_arrivals(true);
  }
}

const ExpertWeights& StreamedExperts::wait_for(int id, int i) {
  const std::lock_guard lock(mutex_);
  const LeaseState& lease = leases_.at(id);
  CHECK(i >= 0 && static_cast<size_t>(i) < lease.slots.size());
  const int index = lease.slots[static_cast<size_t>(i)];
  while (reader_.slot(index).state == Slot::State::reading) take_arrivals(true);
  if (reader_.slot(index).state == Slot::State::failed) reader_.fail_slot(index);
  interleave_weights(lease, {&i, 1});
  return reader_.slot(index).weights;
}

void StreamedExperts::release(int id) noexcept {
  const std::lock_guard lock(mutex_);
  for (const int slot : leases_.at(id).slots) cache_.unpin(slot);
  if (leases_.at(id).layer == table_.n_layers - 1) read_ahead_.end_step(now_ns());
  leases_.close(id);
  if (leases_.none_open()) unasked_.leave(leases_.at(id).layer);
  take_arrivals(false);
  read_unasked();  // the disk has until the next layer's router
}

// The idle thread. It keeps out of the way while calls come in: reads through the page cache cost processor time, and
// gaps that are free are used by the callers themselves.
void StreamedExperts::fill_while_idle() {
  std::unique_lock lock(mutex_);
  uint64_t n_calls_seen = n_calls_ + 1;
  const auto stopping = [this] { return stopping_; };
  while (!stopping_ && (!unasked_.warmed_up() || reader_.n_reading() > 0)) {
    if (std::exchange(n_calls_seen, n_calls_) != n_calls_) {
      wake_.wait_for(lock, kIdleAfter, stopping);
      continue;
    }
    take_arrivals(false);
    const size_t n_before = unasked_.n_warmed_up();
    unasked_.read(kWarmUpsAtOnce);
    if (unasked_.n_warmed_up() == n_before && reader_.n_reading() == 0) return;  // no empty slot is left
    wake_.wait_for(lock, kIdlePause, stopping);
  }
}

void StreamedExperts::fill(const std::function<void(uint64_t)>& on_bytes) {
  for (bool more = true; more;) {
    uint64_t bytes = 0;
    {
      const std::lock_guard lock(mutex_);
      ++n_calls_;
      const size_t n_before = unasked_.n_warmed_up();
      unasked_.read(kWarmUpsAtOnce);
      more = unasked_.n_warmed_up() > n_before || reader_.n_reading() > 0;
      take_arrivals(true);
      bytes = warm_up_bytes_;
    }
    if (on_bytes) on_bytes(bytes);
  }
}

IoStats StreamedExperts::io_stats() const {
  const std::lock_guard lock(mutex_);
  IoStats io{.mode = reader_.mode(), .missing_drives = reader_.missing_drives(), .read_ahead = unasked_.stats()};
  io.bytes_read = bytes_read_;
  io.warm_up_bytes = warm_up_bytes_;
  io.wait_ns = reader_.wait_ns();
  io.busy_ns = reader_.busy_ns();
  io.read_ahead.verdict = holds_all_ ? "off: every expert has a place in memory" : read_ahead_.verdict();
  return io;
}

UseRates StreamedExperts::use_rates() const {
  const std::lock_guard lock(mutex_);
  return use_.rates();
}

}  // namespace

std::unique_ptr<ExpertSource> make_streamed_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, const StreamedOptions& options,
                                                    Budget& budget) {
  CHECK(options.interleave_for == nullptr || options.pool != nullptr);
  CHECK(options.alignment > 0 && (options.direct || options.alignment == 1));
  for (const auto& file : files) {
    if (options.direct && file->direct_fd() < 0) {
      fail(Fault::unsupported, "{}: its file system has no direct reads (O_DIRECT); use --io buffered", file->path());
    }
  }
  return std::make_unique<StreamedExperts>(std::move(table), std::move(files), std::move(queue), options, budget);
}

}  // namespace flashmoe
