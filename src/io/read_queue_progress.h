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

  // Takes what a transfer returned (bytes, or a negative errno). True when the read is over: see error().
  bool advance(int64_t result) {
    if (result < 0) {
      error_ = static_cast<int>(-result);
      if (error_ != EINTR && error_ != EAGAIN) return true;
      return ++n_retries_ > kMaxRetries;  // then the errno is reported
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

 private:
  static constexpr int kMaxRetries = 1000;

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
  int n_retries_ = 0;
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
