// Brings records from disk into slots: cuts them into reads, repeats what fails, knows how far each slot is.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "experts/eviction.h"
#include "experts/slot_layout.h"
#include "experts/source.h"
#include "flashmoe/options.h"
#include "io/drive_tries.h"
#include "io/file.h"
#include "io/read_queue.h"
#include "kernels/interleaving.h"

namespace flashmoe {

// Why a record is read. Demand goes first; the others use what it leaves of the disk. A guess is dropped once it is
// known to be wrong.
enum class ReadCause : uint8_t { demand, guess, warm_up, dropped };

// The bytes of one expert in memory, or on their way there.
struct Slot {
  enum class State : uint8_t { empty, reading, ready, failed };
  std::byte* data = nullptr;
  State state = State::empty;
  ReadCause cause = ReadCause::demand;
  ExpertId id;
  ExpertWeights weights;
  int n_reads_left = 0;
  int failed_read = -1;
  int error = 0;  // of failed_read, after
  int n_tries = 1;
  uint32_t drives = 0;   // ReadDone::drives of its reads, or of failed_read
  DriveTries wrong;      // arrivals with a wrong checksum
  uint64_t bytes = 0;    // read from the files, once ready
  uint64_t arrival = 0;  // counts up over all slots
};

class SlotReader {
 public:
  struct Options {
    bool direct = false;
    uint32_t alignment = 1;  // of direct reads, 1 when buffered
    VerifyChoice verify = VerifyChoice::first;
    bool drop_behind = false;  // what has arrived in a slot is dropped from the page cache
  };
  // `data` [n_slots]: where each slot begins. The table must outlive this object.
  SlotReader(const ExpertTable& table, std::vector<std::shared_ptr<File>> files, std::unique_ptr<ReadQueue> queue,
             const Options& options, std::vector<std::byte*> data);

  const Slot& slot(int index) const { return slots_[static_cast<size_t>(index)]; }

  // The slot, which nobody reads or uses, is to get the expert. Nothing happens before submit().
  void start(int index, ExpertId id, ReadCause cause);
  void submit();
  // A slot that is read for another reason is demanded now.
  void demand(int index);
  // on_done(slot) for each one that became ready or failed. With `block`, waits for at least one read.
  void take_arrivals(bool block, FunctionRef<void(int)> on_done);
  // A guess that was wrong, or right: from now on the slot is like any other.
  void forget_cause(int index);

  // What a slot holds is from now on in another one of the same size, which holds nothing of use; nobody reads or uses
  // either.
  void move(int from, int to);

  // The weights of a slot that is ready, and where they lie.
  std::array<Interleaving, 3> matrices(int index);

  // Throws Error{io} that tells why the slot failed.
  [[noreturn]] void fail_slot(int index) const;

  int n_reading() const { return n_reading_; }    // slots
  int n_demanded() const { return n_demanded_; }  // of these, that somebody waits for or will
  uint64_t wait_ns() const { return wait_ns_; }   // inside take_arrivals(true)
  uint64_t busy_ns() const;                       // with at least one read in flight
  uint64_t record_bytes(ExpertId id) const;       // that reading it takes from the files
  std::string mode() const;
  std::string missing_drives() const { return queue_->missing_drives(); }

 private:
  void add_request(int index, int read, const SlotLayout& layout, uint32_t avoided_drives);
  bool take_arrival(const ReadDone& done);
  bool is_right(const Slot& slot, const SlotLayout& layout);
  void note_damage(const Slot& slot, const SlotRead& read);
  std::string path_of(const SlotRead& read, uint32_t drives) const;
  void drop_from_page_cache(const SlotLayout& layout) const;
  bool read_anew(int index, const SlotLayout& layout);
  const ExpertRecord& record_of(ExpertId id) const { return table_.at(id.layer, id.expert); }
  size_t index_of(ExpertId id) const {
    return static_cast<size_t>(id.layer) * static_cast<size_t>(table_.n_experts) + static_cast<size_t>(id.expert);
  }

  const ExpertTable& table_;
  std::vector<std::shared_ptr<File>> files_;
  std::vector<int> descriptors_;  // [n_files]
  bool direct_;
  uint32_t alignment_;
  VerifyChoice verify_;
  bool drop_behind_;
  // Bit sets of drives whose copy of a record was looked at on its own.
  struct Copies {
    uint32_t right = 0, wrong = 0;
  };
  std::vector<Copies> copies_;  // [n_layers, n_experts]
  uint64_t n_mended_ = 0;       // records that were wrong, and right when read anew
  std::string mended_path_;     // the last one's that was wrong
  std::vector<Slot> slots_;
  std::vector<ReadRequest> requests_;  // about to be submitted
  int n_reading_ = 0, n_demanded_ = 0;
  uint64_t n_arrivals_ = 0;
  uint64_t busy_since_ = 0, busy_ns_ = 0, wait_ns_ = 0;
  std::unique_ptr<ReadQueue> queue_;
};

}  // namespace flashmoe
