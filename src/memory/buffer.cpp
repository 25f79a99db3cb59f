#include "memory/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/address_space.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr uint64_t kHugePage = 2 * kMiB;
// Small enough that growing token by token wastes little, large enough that it is rare.
constexpr uint64_t kGrowStep = kMiB;

// 4 KiB; on 64-bit Arm also 16 or 64 KiB.
uint64_t page_bytes() {
  static const auto bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}
uint64_t mapped_bytes(uint64_t bytes) { return round_up(bytes, page_bytes()); }

[[noreturn]] void fail_without_memory(uint64_t bytes) {
  const int error = errno;
  fail(Fault::io, "the system has no {} of memory to give: {}; {}", human_bytes(bytes), std::strerror(error),
       mend_of_refusal("free some or lower the budget (--ram)"));
}

// mmap aligns to pages only: ask for 2 MiB more and give the ends back.
std::byte* map_aligned(uint64_t bytes, int protection, int flags) {
  const uint64_t want = mapped_bytes(bytes);
  const uint64_t padded = want + kHugePage;
  void* mapping = padded < bytes ? MAP_FAILED : mmap(nullptr, padded, protection, flags, -1, 0);
  if (mapping == MAP_FAILED) fail_without_memory(bytes);
  auto* start = static_cast<std::byte*>(mapping);
  const auto address = reinterpret_cast<uintptr_t>(start);
  const uint64_t head = round_up(address, kHugePage) - address;
  if (head > 0) munmap(start, head);
  munmap(start + head + want, padded - head - want);
  return start + head;
}

}  // namespace

Buffer::Buffer(Budget& budget, Allotted what, uint64_t bytes) : Buffer(in_parts(budget, what, bytes)) {
  CHECK(claim(reserved_span()));
}

Buffer Buffer::reserve(Budget& budget, Allotted what, uint64_t capacity_bytes) {
  Buffer buffer(budget, what);
  buffer.map(capacity_bytes, PROT_NONE);
  return buffer;
}

Buffer Buffer::in_parts(Budget& budget, Allotted what, uint64_t capacity_bytes) {
  Buffer buffer(budget, what);
  buffer.map(capacity_bytes, PROT_READ | PROT_WRITE);
  return buffer;
}

void Buffer::map(uint64_t capacity_bytes, int protection) {
  if (capacity_bytes == 0) return;
  data_ = map_aligned(capacity_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  capacity_ = capacity_bytes;
  // A huge page would commit up to 2 MiB that nobody has claimed.
  madvise(data_, mapped_bytes(capacity_bytes), MADV_NOHUGEPAGE);
}

bool Buffer::grow(uint64_t bytes) {
  if (bytes <= size_) return true;
  CHECK(bytes <= capacity_);
  uint64_t target = std::min(round_up(bytes, kGrowStep), capacity_);
  if (!budget_->claim(what_, target - size_)) {
    target = std::min(round_up(bytes, page_bytes()), capacity_);  // the last of an allotment that is no whole step
    if (!budget_->claim(what_, target - size_)) return false;
  }
  if (mprotect(data_, mapped_bytes(target), PROT_READ | PROT_WRITE) != 0) {
    budget_->release(what_, target - size_);
    fail_without_memory(target);
  }
  size_ = target;
  return true;
}

bool Buffer::claim(std::span<std::byte> part) {
  if (part.empty()) return true;
  CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + capacity_);
  if (!budget_->claim(what_, part.size())) return false;
  size_ += part.size();
  const auto first = static_cast<uint64_t>(part.data() - data_);
  const uint64_t begin = round_down(first, page_bytes());
  // A wish: kernels without huge pages refuse, and all still works.
  madvise(data_ + begin, mapped_bytes(first + part.size()) - begin, MADV_HUGEPAGE);
  return true;
}

void Buffer::give_back(std::span<std::byte> part) {
  CHECK(part.size() <= size_);
  const auto first = static_cast<uint64_t>(part.data() - data_);
  const uint64_t begin = round_up(first, page_bytes()), end = round_down(first + part.size(), page_bytes());
  if (begin < end) {
    madvise(data_ + begin, end - begin, MADV_NOHUGEPAGE);
    madvise(data_ + begin, end - begin, MADV_DONTNEED);
  }
  size_ -= part.size();
  if (!part.empty()) budget_->release(what_, part.size());
}

void Buffer::free() noexcept {
  if (data_ != nullptr) {
    munmap(data_, mapped_bytes(capacity_));
    budget_->release(what_, size_);
  }
  data_ = nullptr;
  size_ = capacity_ = 0;
}

Buffer::~Buffer() { free(); }

Buffer::Buffer(Buffer&& other) noexcept
    : budget_(other.budget_),
      what_(other.what_),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  free();
  budget_ = other.budget_;
  what_ = other.what_;
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

}  // namespace flashmoe
