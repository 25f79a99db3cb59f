#include "memory/prefault.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "memory/buffer.h"

namespace flashmoe {
namespace {

uint64_t present_pages(const Buffer& buffer) {
  std::vector<unsigned char> pages(buffer.size() / 4096);
  if (mincore(buffer.data(), buffer.size(), pages.data()) != 0) return 0;
  uint64_t n = 0;
  for (const unsigned char page : pages) n += page & 1U;
  return n;
}

TEST(Prefault, BringsMemoryInAndLeavesItsContentAlone) {
  Budget budget;
  budget.allot(Allotted::expert_cache, 24 * kMiB);
  const Buffer buffer(budget, Allotted::expert_cache, 24 * kMiB);
  std::memset(buffer.data() + 5 * kMiB, 7, kMiB);
  if (madvise(buffer.data(), kMiB, 23 /* MADV_POPULATE_WRITE */) != 0) GTEST_SKIP() << "the kernel cannot do it";
  const Prefault prefault(buffer.span(), 2);
  for (int i = 0; i < 2000 && present_pages(buffer) < buffer.size() / 4096; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(present_pages(buffer), buffer.size() / 4096);
  EXPECT_EQ(buffer.data()[5 * kMiB], std::byte{7});
  EXPECT_EQ(buffer.data()[6 * kMiB - 1], std::byte{7});
  EXPECT_EQ(buffer.data()[6 * kMiB], std::byte{0});
}

TEST(Prefault, TakesNothingBehindItsNewEnd) {
  Budget budget;
  budget.allot(Allotted::expert_cache, 64 * kMiB);
  for (int i = 0; i < 20; ++i) {
    const Buffer buffer(budget, Allotted::expert_cache, 64 * kMiB);
    Prefault prefault(buffer.span(), 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 5));
    const auto behind = buffer.span().subspan(21 * kMiB);
    prefault.end_before(behind.data());
    madvise(behind.data(), behind.size(), MADV_DONTNEED);
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_LE(present_pages(buffer), 21 * kMiB / 4096);
  }
}

TEST(Prefault, StopsWhenItGoes) {
  Budget budget;
  budget.allot(Allotted::expert_cache, 64 * kMiB);
  const Buffer buffer(budget, Allotted::expert_cache, 64 * kMiB);
  for (int i = 0; i < 10; ++i) const Prefault prefault(buffer.span(), 3);
}

}  // namespace
}  // namespace flashmoe
