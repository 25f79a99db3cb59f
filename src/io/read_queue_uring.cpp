#include <fmt/format.h>
#include <liburing.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "io/read_queue.h"
#include "io/read_queue_progress.h"

namespace flashmoe {
namespace {

std::string limit_text(int resource, uint64_t unit) {
  rlimit limit = {};
  getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{}", limit.rlim_cur / unit);
}

// With the limit that is behind it, where there is one.
std::string refusal_text(int error) {
  std::string text = std::strerror(error);
  if (error == ENOMEM) text += ", ulimit -l is " + limit_text(RLIMIT_MEMLOCK, kKiB);
  if (error == EMFILE) text += ", ulimit -n is " + limit_text(RLIMIT_NOFILE, 1);
  return text;
}

const char* refusal_cause(int error) {
  switch (error) {
    case ENOMEM:
      return "its rings count as locked memory, of all processes of a user together, and are more than that limit";
    case EMFILE:
      return "it needs one more open file than that limit allows";
    default:
      return "the kernel, a container or a sandbox forbids it";
  }
}

class UringQueue final : public ReadQueue {
 public:
  explicit UringQueue(int depth) : in_flight_(static_cast<size_t>(depth)), pauses_(static_cast<size_t>(depth)) {
    open_ring(static_cast<unsigned>(depth));
    free_.reserve(in_flight_.size());
    done_.reserve(in_flight_.size());
    for (size_t i = 0; i < in_flight_.size(); ++i) free_.push_back(static_cast<uint32_t>(i));
  }

  ~UringQueue() override {
    // The kernel writes into the callers' memory until its last completion.
    while (free_.size() < in_flight_.size()) {
      io_uring_submit(&ring_);
      io_uring_cqe* cqe = nullptr;
      if (io_uring_wait_cqe(&ring_, &cqe) != 0) continue;
      free_.push_back(static_cast<uint32_t>(io_uring_cqe_get_data64(cqe)));
      io_uring_cqe_seen(&ring_, cqe);
    }
    io_uring_queue_exit(&ring_);
  }

  void submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& request : requests) backlog_.push(request);
    pending_ += static_cast<int>(requests.size());
    start_backlog();
    flush();
  }

  std::span<const ReadDone> wait(bool block) override {
    done_.clear();
    reap();
    while (block && done_.empty() && pending_ > 0) {
      io_uring_cqe* cqe = nullptr;
      const int result = io_uring_wait_cqe(&ring_, &cqe);
      CHECK(result == 0 || result == -EINTR || result == -EAGAIN);
      reap();
    }
    pending_ -= static_cast<int>(done_.size());
    return done_;
  }

  int pending() const override { return pending_; }
  const char* name() const override { return "io_uring"; }
  int depth() const override { return static_cast<int>(in_flight_.size()); }

 private:
  static constexpr uint64_t kPause = uint64_t{1} << 32;  // marks the completion of a pause

  void open_ring(unsigned depth) {
    io_uring_params params{};
    // Completions are looked at when we enter the kernel anyway; kernels before 5.19 do not know the flags.
    params.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    int result = io_uring_queue_init_params(depth, &ring_, &params);
    if (result == -EINVAL) {
      params = {};
      result = io_uring_queue_init_params(depth, &ring_, &params);
    }
    if (result != 0) {
      fail(Fault::unsupported, "io_uring is not available here ({}): {}; use --io pread", refusal_text(-result),
           refusal_cause(-result));
    }
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool can_read = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
    if (probe != nullptr) io_uring_free_probe(probe);
    if (!can_read) {
      io_uring_queue_exit(&ring_);
      fail(Fault::unsupported, "io_uring of this kernel cannot read files (Linux 5.6 can); use --io pread");
    }
  }

  void prepare(uint32_t id) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    CHECK(sqe != nullptr);  // the ring has an entry for every read in flight, and flush() empties it
    const ReadProgress& read = in_flight_[id];
    io_uring_prep_read(sqe, read.request().fd, read.next_dest(), read.next_bytes(), read.next_offset());
    io_uring_sqe_set_data64(sqe, id);
  }

  // The kernel completes this when the pause is over; until then the read keeps its place in flight.
  void prepare_pause(uint32_t id) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    CHECK(sqe != nullptr);
    pauses_[id] = {.tv_sec = 0, .tv_nsec = static_cast<long long>(in_flight_[id].pause_ns())};
    io_uring_prep_timeout(sqe, &pauses_[id], 0, 0);
    io_uring_sqe_set_data64(sqe, kPause | id);
  }

  void start_backlog() {
    while (!backlog_.empty() && !free_.empty()) {
      const uint32_t id = free_.back();
      free_.pop_back();
      in_flight_[id] = ReadProgress(backlog_.pop());
      prepare(id);
    }
  }

  // Hands every prepared entry to the kernel. Out of memory or completion room is a matter of a moment.
  void flush() {
    while (io_uring_sq_ready(&ring_) > 0) {
      const int result = io_uring_submit(&ring_);
      CHECK(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM);
      if (result < 0 && result != -EINTR) io_uring_get_events(&ring_);
    }
  }

  void reap() {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
      const uint64_t data = io_uring_cqe_get_data64(cqe);
      const auto id = static_cast<uint32_t>(data);
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      ReadProgress& read = in_flight_[id];
      if ((data & kPause) != 0) {
        prepare(id);
        continue;
      }
      if (!read.advance(result)) {
        read.pause_ns() > 0 ? prepare_pause(id) : prepare(id);
        continue;
      }
      done_.push_back(read.done());
      free_.push_back(id);
      cqe = nullptr;
    }
    start_backlog();
    flush();
  }

  io_uring ring_{};
  std::vector<ReadProgress> in_flight_;    // [depth]
  std::vector<__kernel_timespec> pauses_;  // [depth]
  std::vector<uint32_t> free_;             // ids of in_flight_ that are idle
  GrowingRing<ReadRequest> backlog_;
  std::vector<ReadDone> done_;
  int pending_ = 0;
};

}  // namespace

std::unique_ptr<ReadQueue> make_uring_queue(int depth) {
  CHECK(depth > 0 && depth <= 4096);
  return std::make_unique<UringQueue>(depth);
}

}  // namespace flashmoe
