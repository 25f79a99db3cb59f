#include "experts/disk_roof.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/keep_going.h"
#include "experts/slot_layout.h"
#include "io/read_error.h"
#include "memory/buffer.h"

namespace flashmoe {
namespace {

constexpr uint64_t kMostRounds = 4;  // times all experts' bytes
constexpr uint64_t kLeastBursts = 3, kMostBursts = 200;

uint64_t largest_slot(const ExpertTable& table, uint32_t alignment) {
  uint64_t bytes = 0;
  for (const ExpertRecord& record : table.records) bytes = std::max(bytes, lay_out_slot(record, alignment).bytes);
  return bytes;
}

class ExpertReads {
 public:
  ExpertReads(const DiskProbe& probe, ReadQueue& queue)
      : probe_(probe),
        queue_(queue),
        slot_bytes_(largest_slot(probe.table, probe.alignment)),
        n_slots_(static_cast<uint64_t>(std::max(probe.table.n_used, 1))),
        reads_left_(n_slots_),
        reads_(n_slots_ * kRecordParts) {
    budget_.allot(Allotted::read_buffers, n_slots_ * slot_bytes_);
    memory_ = Buffer(budget_, Allotted::read_buffers, n_slots_ * slot_bytes_);
    std::memset(memory_.data(), 1, memory_.size());
  }

  ~ExpertReads() {  // nothing may still be on its way into memory_
    while (queue_.pending() > 0) queue_.wait(true);
  }
  ExpertReads(const ExpertReads&) = delete;
  ExpertReads& operator=(const ExpertReads&) = delete;

  double run() {
    const uint64_t most_bytes = kMostRounds * probe_.table.bytes();
    const uint64_t start = now_ns();
    for (uint64_t slot = 0; slot < n_slots_; ++slot) read_some_expert(slot);
    while (queue_.pending() > 0) {
      const bool go_on = seconds_since(start) < probe_.seconds && n_bytes_ < most_bytes;
      wait_for_some();
      for (const uint64_t slot : idle_) {
        if (go_on) read_some_expert(slot);
      }
    }
    return static_cast<double>(n_bytes_) / static_cast<double>(now_ns() - start);
  }

  // Mean seconds from asking for n records to having them all, the disk idle before.
  double burst(uint64_t n, double seconds) {
    const uint64_t start = now_ns();
    uint64_t n_bursts = 0;
    do {
      for (uint64_t slot = 0; slot < n; ++slot) read_some_expert(slot);
      while (queue_.pending() > 0) wait_for_some();
      ++n_bursts;
    } while (n_bursts < kLeastBursts || (n_bursts < kMostBursts && seconds_since(start) < seconds));
    return seconds_since(start) / static_cast<double>(n_bursts);
  }

 private:
  // At least one transfer; idle_ gets the slots whose records are complete by it.
  void wait_for_some() {
    stop_if_asked(probe_.keep_going, "measuring the disk");
    idle_.clear();
    for (const ReadDone& done : queue_.wait(true)) {
      if (done.error != 0) fail_read(reads_[done.tag], done.error);
      const uint64_t slot = done.tag / kRecordParts;
      if (--reads_left_[slot] == 0) idle_.push_back(slot);
    }
  }

  [[noreturn]] void fail_read(const SlotRead& read, int error) const {
    fail(Fault::io,
         "{}: measuring the disk: cannot read {} bytes at offset {}: {}; check the disk, or copy the model "
         "to another one",
         probe_.files[read.file]->path(), read.bytes, read.offset, read_error_text(error));
  }

  void read_some_expert(uint64_t slot) {
    const ExpertRecord& record = probe_.table.records[random_() % probe_.table.records.size()];
    const SlotLayout layout = lay_out_slot(record, probe_.alignment);
    std::array<ReadRequest, kRecordParts> requests;
    for (size_t r = 0; r < static_cast<size_t>(layout.n_reads); ++r) {
      const SlotRead& read = layout.reads[r];
      const File& file = *probe_.files[read.file];
      requests[r] = {.fd = probe_.direct ? file.direct_fd() : file.buffered_fd(),
                     .offset = read.offset,
                     .bytes = read.bytes,
                     .needed_bytes = read.needed_bytes,
                     .dest = memory_.data() + slot * slot_bytes_ + read.at,
                     .tag = slot * kRecordParts + r};
      reads_[slot * kRecordParts + r] = read;
      n_bytes_ += read.bytes;
    }
    reads_left_[slot] = layout.n_reads;
    queue_.submit({requests.data(), static_cast<size_t>(layout.n_reads)});
  }

  const DiskProbe& probe_;
  ReadQueue& queue_;
  uint64_t slot_bytes_, n_slots_;
  Budget budget_;
  Buffer memory_;
  std::vector<int> reads_left_;  // [n_slots]
  std::vector<uint64_t> idle_;   // slots whose reads are done
  std::vector<SlotRead> reads_;  // [n_slots, kRecordParts] by tag
  std::mt19937_64 random_{42};
  uint64_t n_bytes_ = 0;
};

}  // namespace

double measure_expert_reads(const DiskProbe& probe, ReadQueue& queue) {
  if (!probe.direct) {
    for (const auto& file : probe.files) file->drop_page_cache();
  }
  return ExpertReads(probe, queue).run();
}

std::vector<double> measure_bursts(const DiskProbe& probe, ReadQueue& queue) {
  if (!probe.direct) {
    for (const auto& file : probe.files) file->drop_page_cache();
  }
  ExpertReads reads(probe, queue);
  std::vector<double> seconds = {0};
  for (int n = 1; n <= probe.table.n_used; ++n) {
    seconds.push_back(reads.burst(static_cast<uint64_t>(n), probe.seconds / probe.table.n_used));
  }
  return seconds;
}

}  // namespace flashmoe
