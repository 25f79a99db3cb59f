// The only owner of bulk bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "memory/budget.h"

namespace flashmoe {

// Anonymous memory, 2 MiB-aligned, zeroed, move-only. Counted against a budget's allotment while it lives.
class Buffer {
 public:
  Buffer() = default;
  // Huge pages where the kernel gives them. Throws Error{io} if the system has no memory; CHECKs the allotment.
  Buffer(Budget& budget, Allotted what, uint64_t bytes);
  // Reserves address space for `capacity` bytes and commits none: see grow.
  static Buffer reserve(Budget& budget, Allotted what, uint64_t capacity_bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  // For a reserved buffer: makes the first `bytes` usable, in steps of its own. False when the allotment is exhausted.
  [[nodiscard]] bool grow(uint64_t bytes);

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }          // usable bytes
  uint64_t capacity() const { return capacity_; }  // reserved bytes
  std::span<std::byte> span() const { return {data_, size_}; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void free() noexcept;
  Budget* budget_ = nullptr;
  Allotted what_ = Allotted::trunk;
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t capacity_ = 0;
};

// Gives the whole pages inside a part of a Buffer back to the system: they read as zero, and are taken again when they
// are written to. The allotment still counts them.
void give_back(std::span<std::byte> part);

}  // namespace flashmoe
