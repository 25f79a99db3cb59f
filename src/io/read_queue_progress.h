// How far one read has come, and what a transfer's result means for it: shared by the queues.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "io/read_queue.h"

namespace flashmoe {

class ReadProgress {
 public:
  ReadProgress() = default;
  explicit ReadProgress(const ReadRequest& request) : request_(request) {}

  const ReadRequest& request() const { return request_; }
  uint64_t next_offset() const { return request_.offset + start_; }
  std::byte* next_dest() const { return request_.dest + start_; }
  // One transfer's worth: the kernel caps a read at 2 GiB less a page.
  uint32_t next_bytes() const { return static_cast<uint32_t>(std::min(request_.bytes - start_, kGiB)); }

  // Takes what a transfer returned (bytes, or a negative errno). True when the read is over: see error(). Otherwise
  // the next transfer should begin after pause_ns().
  bool advance(int64_t result) {
    pause_ns_ = 0;
    if (result < 0) {
      error_ = static_cast<int>(-result);
      return !try_again();
    }
    const uint64_t reached = start_ + static_cast<uint64_t>(result);
    const bool came_further = reached > reached_;
    reached_ = std::max(reached_, reached);
    error_ = 0;
    if (reached_ >= request_.needed_bytes) return true;
    if (!came_further) {
      error_ = ENODATA;
      return true;
    }
    start_ = round_down(reached_, alignment());
    return false;
  }
  int error() const { return error_; }
  ReadDone done() const { return {request_.tag, error_, error_ == EIO ? n_failures_ : 1}; }
  uint64_t pause_ns() const { return pause_ns_; }

 private:
  static constexpr int kMostInterruptions = 1000;
  static constexpr int kMostRefusals = 200;  // 1.9 s in all
  static constexpr int kMostFailures = 2;    // overcome: some controllers recover a sector on the second attempt
  static constexpr uint64_t kMillisecond = 1'000'000;

  bool try_again() {
    switch (error_) {
      case EINTR:
        return ++n_interruptions_ <= kMostInterruptions;
      case EAGAIN:
      case ENOMEM:
        pause_ns_ = std::min<uint64_t>((kMillisecond / 64) << std::min(n_refusals_, 20), 10 * kMillisecond);
        return ++n_refusals_ <= kMostRefusals;
      case EIO:
        pause_ns_ = n_failures_ == 0 ? kMillisecond : 20 * kMillisecond;
        return ++n_failures_ <= kMostFailures;
      default:
        return false;
    }
  }

  // O_DIRECT wants every continuation aligned like the request; where the request is aligned we keep to it, at the
  // cost of reading up to 4 KiB twice.
  uint64_t alignment() const {
    const uint64_t bits = request_.offset | request_.bytes | reinterpret_cast<uintptr_t>(request_.dest);
    return bits % 4096 == 0 ? 4096 : bits % 512 == 0 ? 512 : 1;
  }

  ReadRequest request_;
  uint64_t start_ = 0;    // the next transfer begins here; never behind reached_
  uint64_t reached_ = 0;  // bytes that have arrived
  int error_ = 0;
  int n_interruptions_ = 0, n_refusals_ = 0, n_failures_ = 0;
  uint64_t pause_ns_ = 0;
};

// First in, first out; storage only grows.
template <typename T>
class GrowingRing {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  void push(const T& value) {
    if (size_ == items_.size()) grow();
    items_[(first_ + size_++) % items_.size()] = value;
  }
  const T& front() const { return items_[first_]; }
  T pop() {
    const T value = items_[first_];
    first_ = (first_ + 1) % items_.size();
    --size_;
    return value;
  }

 private:
  void grow() {
    std::vector<T> larger(std::max<size_t>(16, 2 * items_.size()));
    for (size_t i = 0; i < size_; ++i) larger[i] = items_[(first_ + i) % items_.size()];
    items_ = std::move(larger);
    first_ = 0;
  }

  std::vector<T> items_;
  size_t first_ = 0, size_ = 0;
};

}  // namespace flashmoe
