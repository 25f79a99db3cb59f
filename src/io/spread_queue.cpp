#include "io/spread_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "io/drive_pace.h"
#include "io/read_error.h"
#include "io/read_queue_progress.h"

namespace flashmoe {
namespace {

constexpr uint64_t kBlock = 4096;            // parts keep the alignment that O_DIRECT wants
constexpr int kMostFailures = 3;             // in a row, then a drive is left alone
constexpr size_t kMostDrives = 32;           // bits of Part::failed_drives
constexpr uint64_t kProbeBytes = 64 * kKiB;  // at most
constexpr uint32_t kProbe = UINT32_MAX;      // Part::read of what nobody asked for
constexpr double kTrustBehindRest = 0.5;     // of the fastest other drive's rate: enough to get some reads

struct Part {
  uint32_t read = 0;
  uint32_t drive = 0;
  uint32_t failed_drives = 0;  // bit set
  uint64_t at = 0;             // from the beginning of the read
  uint64_t bytes = 0, needed_bytes = 0;
};

struct Read {
  ReadRequest request;
  int file = -1;  // -1: no file of the drives, its descriptor is taken as it is
  bool direct = false;
  int n_parts_left = 0;
  int error = 0;
  int n_tries = 1;                        // before error
  uint32_t drives = 0, failed_drive = 0;  // bit sets: that gave parts; that error is of
};

struct DriveState {
  Drive drive;
  bool in_use = true;
  int n_in_flight = 0;
  int n_failures = 0;  // in a row
  int error = 0;       // why it is not in use
  uint64_t in_flight_bytes = 0, total_bytes = 0;
  DrivePace pace{drive.gb_per_s};
  std::vector<std::byte> probe_memory = {};
  uint64_t probe_began_ns = 0;
  std::vector<uint64_t> looked_at;  // [n_files] the batch of completions behind which each was looked at
};

class SpreadQueue final : public ReadQueue {
 public:
  SpreadQueue(std::unique_ptr<ReadQueue> inner, std::vector<Drive> drives, const SpreadOptions& options)
      : options_(options), inner_(std::move(inner)) {
    CHECK(!drives.empty() && drives.size() <= kMostDrives);
    const size_t n_files = drives.front().files.size();
    int total_depth = 0;
    for (Drive& drive : drives) {
      total_depth += drive.depth;
      CHECK(drive.depth > 0 && drive.gb_per_s > 0 && drive.files.size() == n_files);
      drives_.push_back({.drive = std::move(drive), .looked_at = std::vector<uint64_t>(n_files)});
    }
    requests_.reserve(static_cast<size_t>(total_depth));
    last_look_ns_ = now_ns();
  }

  void submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& request : requests) add(request);
    pending_ += static_cast<int>(requests.size());
    if (is_spread()) now_ = now_ns();
    start_parts();
  }

  std::span<const ReadDone> wait(bool block) override {
    handed_.clear();
    done_.reserve(static_cast<size_t>(pending_));
    handed_.reserve(static_cast<size_t>(pending_));
    look_for_changes();
    do {
      const auto batch = wait_for_parts(block && done_.empty() && pending_ > 0);
      ++batch_;
      for (const ReadDone& part : batch) take(part);
      if (is_spread()) judge_drives();
      start_parts();
    } while (block && done_.empty() && pending_ > 0);
    std::swap(handed_, done_);
    pending_ -= static_cast<int>(handed_.size());
    return handed_;
  }

  int pending() const override { return pending_; }
  int depth() const override { return inner_->depth(); }
  std::string missing_drives() const override;
  int n_drives() const override { return static_cast<int>(drives_.size()); }
  std::string path_on(uint32_t drives, int fd) const override {
    Read read = {.request = {.fd = fd}};
    find_file(read);
    if (read.file < 0 || drives == 0) return {};
    const DriveState& state = drives_[static_cast<size_t>(std::countr_zero(drives))];
    return state.drive.files[static_cast<size_t>(read.file)]->path();
  }
  const char* name() const override;

 private:
  bool is_spread() const { return drives_.size() > 1; }
  void tell_shares() const;

  std::span<const ReadDone> wait_for_parts(bool block) {
    if (!is_spread()) return inner_->wait(block);
    const uint64_t start = block ? now_ns() : 0;
    const auto batch = inner_->wait(block);
    now_ = now_ns();
    for (DriveState& state : drives_) {
      if (block && state.n_in_flight > 0) state.pace.wait(now_ - start);
    }
    return batch;
  }

  void add(const ReadRequest& request) {
    const uint32_t id = idle(reads_, idle_reads_);
    Read& read = reads_[id];
    read = {.request = request};
    find_file(read);
    const uint64_t chunk = options_.chunk_bytes;
    const uint64_t n_chunks = chunk == 0 ? 1 : std::max<uint64_t>(1, (request.bytes + chunk - 1) / chunk);
    const uint64_t bytes = n_chunks == 1 ? request.bytes : round_up((request.bytes + n_chunks - 1) / n_chunks, kBlock);
    uint64_t at = 0;
    do {  // what lies behind needed_bytes need not be read
      const uint64_t n = std::min(bytes, request.bytes - at);
      const uint32_t part = idle(parts_, idle_parts_);
      parts_[part] = {.read = id, .at = at, .bytes = n, .needed_bytes = std::min(n, request.needed_bytes - at)};
      backlog_.push(part);
      ++read.n_parts_left;
      at += n;
    } while (at < request.needed_bytes);
  }

  template <typename T>
  static uint32_t idle(std::vector<T>& items, std::vector<uint32_t>& free) {
    if (free.empty()) {
      free.reserve(items.size() + 1);  // so that giving back never allocates
      free.push_back(static_cast<uint32_t>(items.size()));
      items.emplace_back();
    }
    const uint32_t id = free.back();
    free.pop_back();
    return id;
  }

  void find_file(Read& read) const {
    const auto& files = drives_.front().drive.files;
    for (size_t i = 0; i < files.size() && read.request.fd >= 0; ++i) {
      read.direct = read.request.fd == files[i]->direct_fd();
      if (!read.direct && read.request.fd != files[i]->buffered_fd()) continue;
      read.file = static_cast<int>(i);
      return;
    }
  }

  // The drive in use that has not failed this part and will probably finish it first, or none. One that rests comes
  // behind the others, one that is to be avoided behind all.
  DriveState* best_drive(const Part& part) {
    const Read& read = reads_[part.read];
    if (read.file < 0) return part.failed_drives == 0 ? drives_.data() : nullptr;
    DriveState* best = nullptr;
    std::pair<int, double> least;
    for (size_t d = 0; d < drives_.size(); ++d) {
      DriveState& state = drives_[d];
      if (!state.in_use || (part.failed_drives >> d & 1U) != 0) continue;
      const int reluctance = ((read.request.avoided_drives >> d & 1U) != 0 ? 2 : 0) + (state.pace.rests() ? 1 : 0);
      const double time = static_cast<double>(state.in_flight_bytes + part.bytes) / state.pace.gb_per_s();
      const std::pair costs(reluctance, time);
      if (best != nullptr && costs >= least) continue;
      best = &state;
      least = costs;
    }
    return best;
  }

  void start_parts() {
    requests_.clear();
    while (!backlog_.empty()) {
      Part& part = parts_[backlog_.front()];
      DriveState* state = best_drive(part);
      if (state == nullptr) {
        finish(part, reads_[part.read].error == 0 ? ESTALE : reads_[part.read].error);
        idle_parts_.push_back(backlog_.pop());
        continue;
      }
      if (state->n_in_flight == state->drive.depth) break;
      start(backlog_.pop(), *state);
    }
    if (requests_.empty()) return;
    if (is_spread()) start_probes();
    inner_->submit(requests_);
  }

  void start(uint32_t id, DriveState& state) {
    Part& part = parts_[id];
    const Read& read = reads_[part.read];
    part.drive = static_cast<uint32_t>(&state - drives_.data());
    if (state.n_in_flight++ == 0) state.pace.begin(now_);
    state.in_flight_bytes += part.bytes;
    requests_.push_back({.fd = read.file < 0 ? read.request.fd : descriptor(state, read),
                         .offset = read.request.offset + part.at,
                         .bytes = part.bytes,
                         .needed_bytes = part.needed_bytes,
                         .dest = read.request.dest + part.at,
                         .tag = id});
  }

  static int descriptor(const DriveState& state, const Read& read) {
    const File& file = *state.drive.files[static_cast<size_t>(read.file)];
    return read.direct ? file.direct_fd() : file.buffered_fd();
  }

  // Drives that rest read a part that another one was just given, into memory of their own: nobody waits for it.
  void start_probes() {
    const Part sample = parts_[requests_.front().tag];
    const Read& read = reads_[sample.read];
    for (DriveState& state : drives_) {
      const bool wanted = state.in_use && state.n_in_flight == 0 && state.pace.wants_probe(now_);
      if (!wanted || read.file < 0) continue;
      const uint32_t id = idle(parts_, idle_parts_);
      const uint64_t bytes = std::min(sample.bytes, kProbeBytes);
      parts_[id] = {.read = kProbe, .drive = static_cast<uint32_t>(&state - drives_.data()), .bytes = bytes};
      ++state.n_in_flight;
      state.in_flight_bytes += bytes;
      state.probe_began_ns = now_;
      state.probe_memory.resize(kProbeBytes + kBlock);
      void* memory = state.probe_memory.data();
      size_t room = state.probe_memory.size();
      requests_.push_back({.fd = descriptor(state, read),
                           .offset = read.request.offset + sample.at,
                           .bytes = bytes,
                           .needed_bytes = std::min(sample.needed_bytes, bytes),
                           .dest = static_cast<std::byte*>(std::align(kBlock, kProbeBytes, memory, room)),
                           .tag = id});
    }
  }

  void take_probe(DriveState& state, const ReadDone& done) {
    idle_parts_.push_back(static_cast<uint32_t>(done.tag));
    if (done.error != 0) {
      count_failure(state, done.error);
      return state.pace.rest(now_);
    }
    double fastest = 0;
    for (const DriveState& other : drives_) {
      if (other.in_use && !other.pace.rests()) fastest = std::max(fastest, other.pace.gb_per_s());
    }
    state.pace.probed(parts_[done.tag].bytes, state.probe_began_ns, now_, kTrustBehindRest * fastest);
  }

  void take(const ReadDone& done) {
    const auto id = static_cast<uint32_t>(done.tag);
    Part& part = parts_[id];
    DriveState& state = drives_[part.drive];
    --state.n_in_flight;
    state.in_flight_bytes -= part.bytes;
    if (part.read == kProbe) return take_probe(state, done);
    const bool watched = reads_[part.read].file >= 0;
    if (watched && done.error == 0) look_at(state, static_cast<size_t>(reads_[part.read].file));
    // A changed file may have given anything.
    const int error = done.error == 0 && watched && !state.in_use && state.error == ESTALE ? ESTALE : done.error;
    if (error == 0) {
      reads_[part.read].drives |= 1U << part.drive;
      state.n_failures = 0;
      state.total_bytes += part.bytes;
      if (is_spread()) state.pace.arrive(part.bytes, now_);
    } else {
      part.failed_drives |= 1U << part.drive;
      if (watched) count_failure(state, error);
      if (best_drive(part) != nullptr) {
        backlog_.push(id);
        return;
      }
    }
    finish(part, error, done.n_tries);
    idle_parts_.push_back(id);
  }

  // Those that have become far slower rest, unless all have: then it is the machine, or there is no better one.
  void judge_drives() {
    const auto sound = [](const DriveState& d) { return d.in_use && !d.pace.rests(); };
    const auto late = [&](const DriveState& d) { return sound(d) && d.pace.is_late(); };
    if (std::none_of(drives_.begin(), drives_.end(), late)) return;
    const bool all = std::all_of(drives_.begin(), drives_.end(), [&](const auto& d) { return !sound(d) || late(d); });
    for (DriveState& state : drives_) {
      if (late(state)) all ? state.pace.forgive() : state.pace.rest(now_);
    }
  }

  void finish(const Part& part, int error, int n_tries = 1) {
    Read& read = reads_[part.read];
    if (error != 0) {
      read.error = error;
      read.n_tries = n_tries;
      if (part.failed_drives != 0) read.failed_drive = 1U << part.drive;
    }
    if (--read.n_parts_left > 0) return;
    done_.push_back({read.request.tag, read.error, read.n_tries, read.error == 0 ? read.drives : read.failed_drive});
    idle_reads_.push_back(part.read);
  }

  // Behind the reads: what a file gave is its own if it has not changed until then.
  void look_at(DriveState& state, size_t file) {
    if (!state.in_use || state.looked_at[file] == batch_) return;
    state.looked_at[file] = batch_;
    if (state.drive.files[file]->has_changed()) stop_using(state, ESTALE);
  }

  // Also at files that nothing is read from, so that all of a drive's are of one time.
  void look_for_changes() {
    const uint64_t now = now_ns();
    if (now - last_look_ns_ < options_.watch_ns) return;
    last_look_ns_ = now;
    for (DriveState& state : drives_) {
      const auto changed = [](const std::shared_ptr<File>& file) { return file->has_changed(); };
      if (state.in_use && std::any_of(state.drive.files.begin(), state.drive.files.end(), changed)) {
        stop_using(state, ESTALE);
      }
    }
  }

  int n_in_use() const {
    return static_cast<int>(std::count_if(drives_.begin(), drives_.end(), [](const auto& d) { return d.in_use; }));
  }
  void count_failure(DriveState& state, int error) {
    if (++state.n_failures >= kMostFailures && n_in_use() > 1) stop_using(state, error);
  }
  static void stop_using(DriveState& state, int error) {
    state.in_use = false;
    state.error = error;
  }

  SpreadOptions options_;
  std::vector<DriveState> drives_;
  std::vector<Read> reads_;
  std::vector<Part> parts_;
  std::vector<uint32_t> idle_reads_, idle_parts_;
  GrowingRing<uint32_t> backlog_;      // parts that wait for a drive
  std::vector<ReadRequest> requests_;  // about to be submitted
  std::vector<ReadDone> done_;         // not handed out yet
  std::vector<ReadDone> handed_;       // what wait() returned last
  int pending_ = 0;
  uint64_t now_ = 0;  // of the last completions or requests; 0 with one drive
  uint64_t last_look_ns_ = 0;
  uint64_t batch_ = 0;  // of completions
  mutable std::string name_;
  std::unique_ptr<ReadQueue> inner_;  // last: its destructor waits for reads in flight
};

const char* SpreadQueue::name() const {
  name_ = inner_->name();
  if (options_.chunk_bytes > 0) name_ += fmt::format(" in parts of {} KiB", options_.chunk_bytes / kKiB);
  if (drives_.size() > 1) tell_shares();
  if (!options_.remark.empty()) name_ += " (" + options_.remark + ")";
  return name_.c_str();
}

void SpreadQueue::tell_shares() const {
  uint64_t total = 0;
  for (const DriveState& state : drives_) total += state.total_bytes;
  std::string shares, slow;
  for (const DriveState& state : drives_) {
    const double share = total == 0 ? 0 : static_cast<double>(state.total_bytes) / static_cast<double>(total);
    shares += fmt::format("{}{:.0f} %", shares.empty() ? "" : " + ", 100 * share);
    if (state.in_use && state.pace.rests()) slow += fmt::format(", {} left alone while it is slow", state.drive.name);
  }
  name_ += fmt::format(" from {} drives ({}){}", drives_.size(), shares, slow);
  if (const std::string missing = missing_drives(); !missing.empty()) name_ += ", without " + missing;
}

std::string SpreadQueue::missing_drives() const {
  std::string missing;
  for (const DriveState& state : drives_) {
    if (state.in_use) continue;
    missing += fmt::format("{}{}: {}", missing.empty() ? "" : " and ", state.drive.name,
                           state.error == ESTALE ? "a file changed" : read_error_text(state.error));
  }
  return missing;
}

}  // namespace

std::unique_ptr<ReadQueue> make_spread_queue(std::unique_ptr<ReadQueue> inner, std::vector<Drive> drives,
                                             const SpreadOptions& options) {
  return std::make_unique<SpreadQueue>(std::move(inner), std::move(drives), options);
}

}  // namespace flashmoe
