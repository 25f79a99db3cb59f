#include "registered_queue.h"

#include <liburing.h>

#include <cerrno>
#include <vector>

#include "base/check.h"

namespace flashmoe {
namespace {

constexpr unsigned kIdleMs = 20;  // until the kernel's submission thread sleeps

class RegisteredQueue final : public ReadQueue {
 public:
  explicit RegisteredQueue(int depth) : depth_(depth) {}
  ~RegisteredQueue() override {
    while (n_in_flight_ > 0) wait(true);
    if (open_) io_uring_queue_exit(&ring_);
  }

  bool open(int fd, std::span<std::byte> memory, Polling polling) {
    io_uring_params params{};
    params.flags = polling == Polling::submission   ? IORING_SETUP_SQPOLL
                   : polling == Polling::completion ? IORING_SETUP_IOPOLL
                                                    : IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    params.sq_thread_idle = kIdleMs;
    if (io_uring_queue_init_params(static_cast<unsigned>(depth_), &ring_, &params) != 0) return false;
    open_ = true;
    const iovec buffer{memory.data(), memory.size()};
    return io_uring_register_files(&ring_, &fd, 1) == 0 && io_uring_register_buffers(&ring_, &buffer, 1) == 0;
  }

  void submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& request : requests) {
      io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
      CHECK(sqe != nullptr);
      io_uring_prep_read_fixed(sqe, 0, request.dest, static_cast<unsigned>(request.bytes), request.offset, 0);
      sqe->flags |= IOSQE_FIXED_FILE;
      io_uring_sqe_set_data64(sqe, request.tag);
      ++n_in_flight_;
    }
    io_uring_submit(&ring_);
  }

  std::span<const ReadDone> wait(bool block) override {
    done_.clear();
    io_uring_cqe* cqe = nullptr;
    if (block && n_in_flight_ > 0) io_uring_wait_cqe(&ring_, &cqe);
    while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
      done_.push_back({io_uring_cqe_get_data64(cqe), cqe->res < 0 ? -cqe->res : cqe->res == 0 ? ENODATA : 0});
      io_uring_cqe_seen(&ring_, cqe);
      --n_in_flight_;
    }
    return done_;
  }

  int pending() const override { return n_in_flight_; }
  const char* name() const override { return "registered"; }
  int depth() const override { return depth_; }

 private:
  int depth_;
  bool open_ = false;
  int n_in_flight_ = 0;
  io_uring ring_{};
  std::vector<ReadDone> done_;
};

}  // namespace

std::unique_ptr<ReadQueue> make_registered_queue(int depth, int fd, std::span<std::byte> memory, Polling polling) {
  auto queue = std::make_unique<RegisteredQueue>(depth);
  if (!queue->open(fd, memory, polling)) return nullptr;
  return queue;
}

}  // namespace flashmoe
