#include "experts/slot_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "experts/read_failure.h"

namespace flashmoe {
namespace {

constexpr uint64_t kTagsPerSlot = 16;  // a read's tag is slot * kTagsPerSlot + read
static_assert(kRecordParts <= kTagsPerSlot);

}  // namespace

SlotReader::SlotReader(const ExpertTable& table, std::vector<std::shared_ptr<File>> files,
                       std::unique_ptr<ReadQueue> queue, const Options& options, std::vector<std::byte*> data)
    : table_(table),
      files_(std::move(files)),
      direct_(options.direct),
      alignment_(options.alignment),
      verify_(options.verify),
      drop_behind_(options.drop_behind),
      copies_(table.records.size()),
      slots_(data.size()),
      queue_(std::move(queue)) {
  for (size_t i = 0; i < data.size(); ++i) slots_[i].data = data[i];
  for (const auto& file : files_) descriptors_.push_back(direct_ ? file->direct_fd() : file->buffered_fd());
}

void SlotReader::start(int index, ExpertId id, ReadCause cause) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  CHECK(slot.state != Slot::State::reading);
  const SlotLayout layout = lay_out_slot(record_of(id), alignment_);
  slot.state = Slot::State::reading;
  slot.cause = cause;
  slot.id = id;
  slot.weights = weights_in_slot(record_of(id), layout, slot.data);
  slot.n_reads_left = layout.n_reads;
  slot.failed_read = -1;
  slot.wrong = {};
  slot.drives = 0;
  slot.bytes = 0;
  for (int r = 0; r < layout.n_reads; ++r) add_request(index, r, layout, copies_[index_of(id)].wrong);
  if (n_reading_++ == 0) busy_since_ = now_ns();
  if (cause == ReadCause::demand) ++n_demanded_;
}

void SlotReader::move(int from, int to) {
  Slot& source = slots_[static_cast<size_t>(from)];
  Slot& target = slots_[static_cast<size_t>(to)];
  CHECK(source.state == Slot::State::ready && target.state != Slot::State::reading);
  const SlotLayout layout = lay_out_slot(record_of(source.id), alignment_);
  std::memcpy(target.data, source.data, layout.bytes);
  ExpertWeights weights = weights_in_slot(record_of(source.id), layout, target.data);
  weights.gate.interleaved = source.weights.gate.interleaved;
  weights.up.interleaved = source.weights.up.interleaved;
  weights.down.interleaved = source.weights.down.interleaved;
  std::byte* const data = std::exchange(target, source).data;
  target.data = data;
  target.weights = weights;
  source.state = Slot::State::empty;
}

void SlotReader::demand(int index) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  if (slot.state == Slot::State::reading && slot.cause != ReadCause::demand) ++n_demanded_;
  slot.cause = ReadCause::demand;
}

void SlotReader::forget_cause(int index) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  if (slot.cause == ReadCause::guess) slot.cause = ReadCause::dropped;
}

uint64_t SlotReader::record_bytes(ExpertId id) const { return record_of(id).bytes(); }

void SlotReader::add_request(int index, int read, const SlotLayout& layout, uint32_t avoided_drives) {
  const SlotRead& r = layout.reads[static_cast<size_t>(read)];
  Slot& slot = slots_[static_cast<size_t>(index)];
  requests_.push_back({.fd = descriptors_[r.file],
                       .offset = r.offset,
                       .bytes = r.bytes,
                       .needed_bytes = r.needed_bytes,
                       .dest = slot.data + r.at,
                       .tag = static_cast<uint64_t>(index) * kTagsPerSlot + static_cast<uint64_t>(read),
                       .avoided_drives = avoided_drives});
}

void SlotReader::submit() {
  if (!requests_.empty()) queue_->submit(requests_);
  requests_.clear();
}

void SlotReader::take_arrivals(bool block, FunctionRef<void(int)> on_done) {
  if (n_reading_ == 0) return;
  const uint64_t start = block ? now_ns() : 0;
  for (const ReadDone& done : queue_->wait(block)) {
    if (take_arrival(done)) on_done(static_cast<int>(done.tag / kTagsPerSlot));
  }
  if (block) wait_ns_ += now_ns() - start;
  submit();
}

// Whether the slot has all its reads now.
bool SlotReader::take_arrival(const ReadDone& done) {
  const auto index = static_cast<int>(done.tag / kTagsPerSlot);
  const auto read = static_cast<int>(done.tag % kTagsPerSlot);
  Slot& slot = slots_[static_cast<size_t>(index)];
  CHECK(slot.state == Slot::State::reading);
  const SlotLayout layout = lay_out_slot(record_of(slot.id), alignment_);
  if (done.error != 0) {
    slot.failed_read = read;
    slot.error = done.error;
    slot.n_tries = done.n_tries;
    slot.drives = done.drives;
  } else {
    const SlotRead& r = layout.reads[static_cast<size_t>(read)];
    slot.bytes += std::min(r.bytes, files_[r.file]->size() - r.offset);
    if (slot.failed_read < 0) slot.drives |= done.drives;
  }
  if (--slot.n_reads_left > 0) return false;
  if (slot.failed_read < 0 && !is_right(slot, layout) && read_anew(index, layout)) return false;
  if (--n_reading_ == 0) busy_ns_ += now_ns() - busy_since_;
  if (slot.cause == ReadCause::demand) --n_demanded_;
  if (drop_behind_) drop_from_page_cache(layout);
  slot.arrival = ++n_arrivals_;
  slot.state = slot.failed_read < 0 ? Slot::State::ready : Slot::State::failed;
  return true;
}

// Whether the slot holds what was packed, as far as that is to be looked at. Bytes of drives that were never looked at
// one by one always are.
bool SlotReader::is_right(const Slot& slot, const SlotLayout& layout) {
  const ExpertRecord& record = record_of(slot.id);
  if (!record.checksum || verify_ == VerifyChoice::never) return true;
  Copies& copies = copies_[index_of(slot.id)];
  const uint32_t drives = std::max(slot.drives, 1U);
  if (verify_ == VerifyChoice::first && (drives & ~copies.right) == 0) return true;
  CHECK(layout.n_reads == 1);
  const std::byte* begin = slot.data + layout.part_at[0];  // the gate's weights come first
  if (checksum_of({begin, static_cast<size_t>(record.bytes())}) != *record.checksum) return false;
  if (std::has_single_bit(drives)) copies.right |= drives;
  if (slot.wrong.n() > 0) note_damage(slot, layout.reads[0]);
  return true;
}

std::array<Interleaving, 3> SlotReader::matrices(int index) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  CHECK(slot.state == Slot::State::ready);
  ExpertWeights& w = slot.weights;
  return {interleaving_in(slot.data, w.gate), interleaving_in(slot.data, w.up), interleaving_in(slot.data, w.down)};
}

void SlotReader::drop_from_page_cache(const SlotLayout& layout) const {
  for (int r = 0; r < layout.n_reads; ++r) {
    const SlotRead& read = layout.reads[static_cast<size_t>(r)];
    files_[read.file]->drop_page_cache(read.offset, read.bytes);
  }
}

// Of a record that was read anew, and is right now.
void SlotReader::note_damage(const Slot& slot, const SlotRead& read) {
  const uint32_t suspects = slot.wrong.suspects(slot.drives);
  if (std::has_single_bit(suspects)) copies_[index_of(slot.id)].wrong |= suspects;
  mended_path_ = path_of(read, suspects == 0 ? slot.drives : suspects);
  ++n_mended_;
}

// A record with a wrong checksum is read once more, from another drive where there is one. False when that has been
// done.
bool SlotReader::read_anew(int index, const SlotLayout& layout) {
  Slot& slot = slots_[static_cast<size_t>(index)];
  const auto avoided = slot.wrong.next(slot.drives, queue_->n_drives());
  if (!avoided) {
    slot.failed_read = 0;
    slot.error = EBADMSG;
    slot.n_tries = slot.wrong.n();
    return false;
  }
  slot.n_reads_left = layout.n_reads;
  slot.bytes = 0;
  slot.drives = 0;
  for (int r = 0; r < layout.n_reads; ++r) add_request(index, r, layout, *avoided);
  return true;
}

std::string SlotReader::path_of(const SlotRead& read, uint32_t drives) const {
  const std::string path = queue_->path_on(drives, descriptors_[read.file]);
  return path.empty() ? files_[read.file]->path() : path;
}

uint64_t SlotReader::busy_ns() const { return n_reading_ > 0 ? busy_ns_ + now_ns() - busy_since_ : busy_ns_; }

std::string SlotReader::mode() const {
  std::string mode = direct_ ? fmt::format("{}, direct {}, depth {}", queue_->name(), alignment_, queue_->depth())
                             : fmt::format("{}, buffered, depth {}", queue_->name(), queue_->depth());
  if (n_mended_ == 0) return mode;
  return mode + fmt::format(", {} damaged record{} read anew, the last of {}", n_mended_, n_mended_ == 1 ? "" : "s",
                            mended_path_);
}

void SlotReader::fail_slot(int index) const {
  static constexpr std::array<const char*, 3> kNames = {"gate", "up", "down"};
  const Slot& slot = slots_[static_cast<size_t>(index)];
  const SlotLayout layout = lay_out_slot(record_of(slot.id), alignment_);
  const SlotRead& read = layout.reads[static_cast<size_t>(slot.failed_read)];
  std::string matrices;
  for (size_t m = 0; m < kNames.size(); ++m) {
    const int* its_reads = &layout.read_of[m * kMatrixParts];
    if (std::find(its_reads, its_reads + kMatrixParts, slot.failed_read) == its_reads + kMatrixParts) continue;
    matrices += (matrices.empty() ? "" : ", ") + std::string(kNames[m]);
  }
  fail_read({.layer = slot.id.layer,
             .expert = slot.id.expert,
             .matrices = matrices,
             .path = path_of(read, slot.drives),
             .offset = read.offset,
             .bytes = read.bytes,
             .error = slot.error,
             .n_tries = slot.n_tries});
}

}  // namespace flashmoe
