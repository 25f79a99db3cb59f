// The only owner of bulk bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "memory/budget.h"

namespace flashmoe {

// Anonymous memory, 2 MiB-aligned, zeroed, move-only. Counted against a budget's allotment while it lives.
// Constructors throw Error{io} if the system has no memory or addresses to give.
class Buffer {
 public:
  Buffer() = default;
  // Huge pages where the kernel gives them. CHECKs the allotment.
  Buffer(Budget& budget, Allotted what, uint64_t bytes);
  // Reserves address space for `capacity` bytes and commits none: see grow.
  static Buffer reserve(Budget& budget, Allotted what, uint64_t capacity_bytes);
  // Address space of `capacity` bytes, of which nothing is claimed and any part may be: see claim.
  static Buffer in_parts(Budget& budget, Allotted what, uint64_t capacity_bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  // For a reserved buffer: makes the first `bytes` usable, in steps of its own. False when the allotment is exhausted.
  [[nodiscard]] bool grow(uint64_t bytes);

  // For a buffer in parts: claims one, with huge pages where the kernel gives them. False when the allotment is
  // exhausted. Parts do not overlap.
  [[nodiscard]] bool claim(std::span<std::byte> part);
  // Gives a claimed part back: to the allotment, and its whole pages to the system, which makes no huge pages over it
  // until it is claimed again. Then it reads as zero.
  void give_back(std::span<std::byte> part);

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }          // claimed bytes; of a buffer in parts not all at the front
  uint64_t capacity() const { return capacity_; }  // reserved bytes
  std::span<std::byte> span() const { return {data_, size_}; }
  std::span<std::byte> reserved_span() const { return {data_, capacity_}; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  Buffer(Budget& budget, Allotted what) : budget_(&budget), what_(what) {}
  void map(uint64_t capacity_bytes, int protection);
  void free() noexcept;
  Budget* budget_ = nullptr;
  Allotted what_ = Allotted::trunk;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t capacity_ = 0;
};

}  // namespace flashmoe
