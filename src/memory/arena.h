// Arrays cut one after the other out of one Buffer: a workspace that is laid out once and never allocates again.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/check.h"
#include "memory/buffer.h"

namespace flashmoe {

// Lay out twice with the same calls: first without a buffer to learn used_bytes(), then with one of that size.
class Arena {
 public:
  Arena() = default;  // counts only: take() gives null spans
  explicit Arena(Buffer& buffer) : base_(buffer.data()), capacity_(buffer.size()) {}

  // n values of T, 64-byte-aligned, uninitialised.
  template <typename T>
  std::span<T> take(int64_t n) {
    const uint64_t at = used_;
    used_ = round_up(used_ + static_cast<uint64_t>(n) * sizeof(T), 64);
    if (base_ == nullptr) return {};
    CHECK(used_ <= capacity_);
    return {reinterpret_cast<T*>(base_ + at), static_cast<size_t>(n)};
  }
  uint64_t used_bytes() const { return used_; }

 private:
  std::byte* base_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t used_ = 0;
};

}  // namespace flashmoe
