#include "experts/streamed.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "experts/cache.h"
#include "experts/read_failure.h"
#include "experts/slot_layout.h"

namespace flashmoe {
namespace {

constexpr uint64_t kTagsPerSlot = 16;  // a read's tag is slot * 16 + read
static_assert(kRecordParts <= kTagsPerSlot);

// The bytes of one expert in memory, or on their way there.
struct Slot {
  enum class State { empty, reading, ready, failed };
  std::byte* data = nullptr;
  State state = State::empty;
  int n_reads_left = 0;
  std::array<int, kRecordParts> n_tries{};  // of each read
  int failed_read = -1;
  int error = 0;         // of failed_read
  uint64_t arrival = 0;  // counts up over all slots
};

struct LeaseState {
  int layer = 0;
  std::vector<int> slots;              // [n_picks]
  std::vector<ExpertWeights> weights;  // [n_picks]
  std::vector<int32_t> outstanding;    // picks that next() has not handed out
  std::vector<int32_t> handed;         // what next() returned last
};

std::vector<CacheClass> cache_classes(const std::vector<SlotClass>& classes) {
  std::vector<CacheClass> result;
  for (const SlotClass& slots : classes) result.push_back({.layers = slots.layers, .n_slots = slots.n_slots});
  return result;
}

class StreamedExperts final : public ExpertSource {
 public:
  StreamedExperts(ExpertTable table, std::vector<std::shared_ptr<File>> files, std::unique_ptr<ReadQueue> queue,
                  bool direct, uint32_t alignment, const std::vector<SlotClass>& classes, Budget& budget)
      : table_(std::move(table)),
        files_(std::move(files)),
        direct_(direct),
        alignment_(alignment),
        memory_(budget, Allotted::expert_cache, slots_bytes(classes)),
        cache_(table_.n_layers, table_.n_experts, cache_classes(classes)),
        slots_(static_cast<size_t>(cache_.n_slots())),
        queue_(std::move(queue)) {
    place_slots(classes);
    for (const auto& file : files_) descriptors_.push_back(direct ? file->direct_fd() : file->buffered_fd());
  }

  Lease acquire(int layer, std::span<const int32_t> experts) override {
    const int id = idle_lease();
    LeaseState& lease = leases_[static_cast<size_t>(id)];
    lease.layer = layer;
    lease.slots.resize(experts.size());
    lease.weights.resize(experts.size());
    lease.outstanding.resize(experts.size());
    lease.handed.reserve(experts.size());
    cache_.use(layer, experts);
    // What is there is pinned first: making room for the others must not evict it.
    for (size_t i = 0; i < experts.size(); ++i) {
      CHECK(experts[i] >= 0 && experts[i] < table_.n_experts);
      const int slot = cache_.find(layer, experts[i]);
      if (slot != ExpertCache::kNoSlot) cache_.pin(slot);
      lease.slots[i] = slot;
      lease.outstanding[i] = static_cast<int32_t>(i);
    }
    requests_.clear();
    for (size_t i = 0; i < experts.size(); ++i) {
      const ExpertRecord& record = table_.at(layer, experts[i]);
      const SlotLayout layout = lay_out_slot(record, alignment_);
      const bool found = lease.slots[i] != ExpertCache::kNoSlot;
      if (!found) lease.slots[i] = start_reading(layer, experts[i], layout);
      const Slot& slot = slots_[static_cast<size_t>(lease.slots[i])];
      ++(slot.state == Slot::State::ready ? stats_.hits : stats_.misses);
      lease.weights[i] = weights_in_slot(record, layout, slot.data);
    }
    submit_requests();
    return {this, id};
  }

  int max_picks() const override { return max_picks_; }
  CacheStats cache_stats() const override { return stats_; }

  IoStats io_stats() const override {
    IoStats io = io_;
    if (n_reading_ > 0) io.busy_ns += now_ns() - busy_since_;
    io.mode = direct_ ? fmt::format("{}, direct {}, depth {}", queue_->name(), alignment_, queue_->depth())
                      : fmt::format("{}, buffered, depth {}", queue_->name(), queue_->depth());
    return io;
  }

 protected:
  std::span<const int32_t> next_arrived(int id) override {
    take_arrivals(false);
    while (true) {
      LeaseState& lease = leases_[static_cast<size_t>(id)];
      hand_out(lease);
      if (!lease.handed.empty() || lease.outstanding.empty()) return lease.handed;
      take_arrivals(true);
    }
  }

  const ExpertWeights& wait_for(int id, int i) override {
    const LeaseState& lease = leases_[static_cast<size_t>(id)];
    CHECK(i >= 0 && static_cast<size_t>(i) < lease.slots.size());
    const int slot = lease.slots[static_cast<size_t>(i)];
    while (slots_[static_cast<size_t>(slot)].state == Slot::State::reading) take_arrivals(true);
    if (slots_[static_cast<size_t>(slot)].state == Slot::State::failed) fail_slot(slot);
    return lease.weights[static_cast<size_t>(i)];
  }

  void release(int id) noexcept override {
    for (const int slot : leases_[static_cast<size_t>(id)].slots) cache_.unpin(slot);
    idle_leases_.push_back(id);
  }

 private:
  void place_slots(const std::vector<SlotClass>& classes) {
    std::byte* at = memory_.data();
    size_t slot = 0;
    max_picks_ = table_.n_layers * table_.n_experts;
    for (const SlotClass& slots : classes) {
      for (int i = 0; i < slots.n_slots; ++i, at += slots.slot_bytes) slots_[slot++].data = at;
      // A class that holds all its experts never runs out.
      if (slots.n_slots < slots.n_records) max_picks_ = std::min(max_picks_, slots.n_slots);
    }
    CHECK(at == memory_.data() + memory_.size());
  }

  int idle_lease() {
    if (idle_leases_.empty()) {
      idle_leases_.reserve(leases_.size() + 1);  // so that release never allocates
      idle_leases_.push_back(static_cast<int>(leases_.size()));
      leases_.emplace_back();
    }
    const int id = idle_leases_.back();
    idle_leases_.pop_back();
    return id;
  }

  // Finds the expert a slot, and adds its reads to requests_. The slot is pinned for the caller and for the reads.
  int start_reading(int layer, int expert, const SlotLayout& layout) {
    int index = cache_.take(layer, expert);
    while (index == ExpertCache::kNoSlot) {
      // All slots are pinned: by leases, which max_picks() bounds, or by reads whose lease was abandoned.
      CHECK(n_reading_ > 0);
      submit_requests();
      take_arrivals(true);
      index = cache_.take(layer, expert);
    }
    cache_.pin(index);
    Slot& slot = slots_[static_cast<size_t>(index)];
    slot.state = Slot::State::reading;
    slot.n_reads_left = layout.n_reads;
    slot.n_tries = {};
    slot.failed_read = -1;
    for (int r = 0; r < layout.n_reads; ++r) add_request(index, r, layout);
    if (n_reading_++ == 0) busy_since_ = now_ns();
    return index;
  }

  void add_request(int index, int read, const SlotLayout& layout) {
    const SlotRead& r = layout.reads[static_cast<size_t>(read)];
    Slot& slot = slots_[static_cast<size_t>(index)];
    ++slot.n_tries[static_cast<size_t>(read)];
    requests_.push_back({.fd = descriptors_[r.file],
                         .offset = r.offset,
                         .bytes = r.bytes,
                         .needed_bytes = r.needed_bytes,
                         .dest = slot.data + r.at,
                         .tag = static_cast<uint64_t>(index) * kTagsPerSlot + static_cast<uint64_t>(read)});
  }

  void submit_requests() {
    if (!requests_.empty()) queue_->submit(requests_);
    requests_.clear();
  }

  void take_arrivals(bool block) {
    if (n_reading_ == 0) return;
    const uint64_t start = block ? now_ns() : 0;
    for (const ReadDone& done : queue_->wait(block)) take_arrival(done);
    if (block) io_.wait_ns += now_ns() - start;
    submit_requests();
  }

  void take_arrival(const ReadDone& done) {
    const auto index = static_cast<int>(done.tag / kTagsPerSlot);
    const auto read = static_cast<int>(done.tag % kTagsPerSlot);
    Slot& slot = slots_[static_cast<size_t>(index)];
    CHECK(slot.state == Slot::State::reading);
    const SlotLayout layout = lay_out_slot(record_of(index), alignment_);
    if (worth_another_try(done.error, slot.n_tries[static_cast<size_t>(read)])) {
      add_request(index, read, layout);
      return;
    }
    if (done.error != 0) {
      slot.failed_read = read;
      slot.error = done.error;
    } else {
      const SlotRead& r = layout.reads[static_cast<size_t>(read)];
      io_.bytes_read += std::min(r.bytes, files_[r.file]->size() - r.offset);
    }
    if (--slot.n_reads_left > 0) return;
    if (--n_reading_ == 0) io_.busy_ns += now_ns() - busy_since_;
    slot.arrival = ++n_arrivals_;
    slot.state = slot.failed_read < 0 ? Slot::State::ready : Slot::State::failed;
    if (slot.state == Slot::State::failed) cache_.forget(index);
    cache_.unpin(index);
  }

  // Moves what has arrived from outstanding to handed.
  void hand_out(LeaseState& lease) {
    const auto slot_of = [&](int32_t pick) { return lease.slots[static_cast<size_t>(pick)]; };
    const auto state_of = [&](int32_t pick) { return slots_[static_cast<size_t>(slot_of(pick))].state; };
    for (const int32_t pick : lease.outstanding) {
      if (state_of(pick) == Slot::State::failed) fail_slot(slot_of(pick));
    }
    lease.handed.clear();
    size_t n_left = 0;
    for (const int32_t pick : lease.outstanding) {
      if (state_of(pick) == Slot::State::ready) {
        lease.handed.push_back(pick);
      } else {
        lease.outstanding[n_left++] = pick;
      }
    }
    lease.outstanding.resize(n_left);
    std::sort(lease.handed.begin(), lease.handed.end(), [&](int32_t a, int32_t b) {
      const uint64_t x = slots_[static_cast<size_t>(slot_of(a))].arrival;
      const uint64_t y = slots_[static_cast<size_t>(slot_of(b))].arrival;
      return x != y ? x < y : a < b;
    });
  }

  const ExpertRecord& record_of(int slot) const {
    const ExpertId id = cache_.held(slot);
    return table_.at(id.layer, id.expert);
  }

  [[noreturn]] void fail_slot(int index) const {
    static constexpr std::array<const char*, 3> kNames = {"gate", "up", "down"};
    const Slot& slot = slots_[static_cast<size_t>(index)];
    const SlotLayout layout = lay_out_slot(record_of(index), alignment_);
    const SlotRead& read = layout.reads[static_cast<size_t>(slot.failed_read)];
    std::string matrices;
    for (size_t m = 0; m < kNames.size(); ++m) {
      const int* its_reads = &layout.read_of[m * kMatrixParts];
      if (std::find(its_reads, its_reads + kMatrixParts, slot.failed_read) == its_reads + kMatrixParts) continue;
      matrices += (matrices.empty() ? "" : ", ") + std::string(kNames[m]);
    }
    const ExpertId id = cache_.held(index);
    fail_read({.layer = id.layer,
               .expert = id.expert,
               .matrices = matrices,
               .path = files_[read.file]->path(),
               .offset = read.offset,
               .bytes = read.bytes,
               .error = slot.error,
               .n_tries = slot.n_tries[static_cast<size_t>(slot.failed_read)]});
  }

  ExpertTable table_;
  std::vector<std::shared_ptr<File>> files_;
  std::vector<int> descriptors_;  // [n_files]
  bool direct_;
  uint32_t alignment_;
  Buffer memory_;
  ExpertCache cache_;
  std::vector<Slot> slots_;
  int max_picks_ = 0;

  std::vector<LeaseState> leases_;
  std::vector<int> idle_leases_;
  std::vector<ReadRequest> requests_;  // about to be submitted
  int n_reading_ = 0;                  // slots in state reading
  uint64_t n_arrivals_ = 0;
  uint64_t busy_since_ = 0;
  CacheStats stats_;
  IoStats io_;
  std::unique_ptr<ReadQueue> queue_;  // last: its destructor waits for reads into memory_
};

}  // namespace

StreamedSizes streamed_sizes(const ExpertTable& table, uint32_t alignment) {
  std::vector<SlotClass> classes = slot_classes(table, alignment);
  StreamedSizes sizes;
  sizes.floor_bytes = slots_bytes(classes);
  for (SlotClass& slots : classes) slots.n_slots = slots.n_records;
  sizes.full_bytes = slots_bytes(classes);
  return sizes;
}

std::unique_ptr<ExpertSource> make_streamed_experts(ExpertTable table, std::vector<std::shared_ptr<File>> files,
                                                    std::unique_ptr<ReadQueue> queue, bool direct, uint32_t alignment,
                                                    Budget& budget) {
  CHECK(alignment > 0 && (direct || alignment == 1));
  for (const auto& file : files) {
    if (direct && file->direct_fd() < 0) {
      fail(Fault::unsupported, "{}: its file system has no direct reads (O_DIRECT); use --io buffered", file->path());
    }
  }
  std::vector<SlotClass> classes = slot_classes(table, alignment);
  CHECK(slots_bytes(classes) <= budget.allotted(Allotted::expert_cache));
  share_out(classes, budget.allotted(Allotted::expert_cache));
  return std::make_unique<StreamedExperts>(std::move(table), std::move(files), std::move(queue), direct, alignment,
                                           classes, budget);
}

}  // namespace flashmoe
