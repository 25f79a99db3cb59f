#include "memory/buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "flashmoe/error.h"
#include "memory/arena.h"

namespace flashmoe {
namespace {

TEST(Buffer, IsAlignedZeroedAndCountedWhileItLives) {
  Budget budget;
  budget.allot(Allotted::trunk, 5 * kMiB);
  {
    Buffer buffer(budget, Allotted::trunk, 3 * kMiB + 5);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % (2 * kMiB), 0u);
    EXPECT_EQ(buffer.size(), 3 * kMiB + 5);
    EXPECT_EQ(budget.used(Allotted::trunk), 3 * kMiB + 5);
    EXPECT_TRUE(std::all_of(buffer.span().begin(), buffer.span().end(), [](std::byte b) { return b == std::byte{0}; }));
    std::memset(buffer.data(), 1, buffer.size());
  }
  EXPECT_EQ(budget.used(Allotted::trunk), 0u);
}

TEST(Buffer, MovingHandsOverTheBytesAndTheirClaim) {
  Budget budget;
  budget.allot(Allotted::trunk, kMiB);
  Buffer a(budget, Allotted::trunk, 1000);
  std::byte* data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  Buffer c;
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(budget.used(Allotted::trunk), 1000u);
  c = Buffer(budget, Allotted::trunk, 10);
  EXPECT_EQ(budget.used(Allotted::trunk), 10u);
}

TEST(Buffer, AnEmptyOneIsFree) {
  Budget budget;
  Buffer buffer(budget, Allotted::trunk, 0);
  EXPECT_EQ(buffer.data(), nullptr);
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(Buffer, ReservedMemoryGrowsInStepsAndKeepsItsPlaceAndContent) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 10 * kMiB);
  Buffer buffer = Buffer::reserve(budget, Allotted::kv_cache, 8 * kMiB);
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(buffer.capacity(), 8 * kMiB);
  EXPECT_EQ(budget.used(Allotted::kv_cache), 0u);

  ASSERT_TRUE(buffer.grow(1));
  EXPECT_EQ(budget.used(Allotted::kv_cache), buffer.size());
  std::byte* data = buffer.data();
  data[0] = std::byte{42};
  ASSERT_TRUE(buffer.grow(5 * kMiB + 1));
  EXPECT_EQ(buffer.data(), data);
  EXPECT_EQ(data[0], std::byte{42});
  EXPECT_EQ(data[5 * kMiB], std::byte{0});
  EXPECT_GE(buffer.size(), 5 * kMiB + 1);
  std::memset(data, 1, buffer.size());
  ASSERT_TRUE(buffer.grow(8 * kMiB));
  EXPECT_EQ(buffer.size(), 8 * kMiB);
  EXPECT_EQ(budget.used(Allotted::kv_cache), 8 * kMiB);
  buffer = Buffer();
  EXPECT_EQ(budget.used(Allotted::kv_cache), 0u);
}

TEST(Buffer, GrowingStopsAtTheAllotmentAndUsesAllOfIt) {
  Budget budget;
  budget.allot(Allotted::kv_cache, kMiB + kMiB / 2);
  Buffer buffer = Buffer::reserve(budget, Allotted::kv_cache, 64 * kMiB);
  ASSERT_TRUE(buffer.grow(kMiB + 1));
  ASSERT_TRUE(buffer.grow(kMiB + kMiB / 2));
  std::memset(buffer.data(), 1, buffer.size());
  EXPECT_FALSE(buffer.grow(kMiB + kMiB / 2 + 1));
  EXPECT_EQ(budget.used(Allotted::kv_cache), kMiB + kMiB / 2);
}

TEST(Buffer, WhatIsReservedOnlyHoldsNoMemory) {
  Budget budget;
  budget.allot(Allotted::kv_cache, 2 * kMiB);
  Buffer buffer = Buffer::reserve(budget, Allotted::kv_cache, 256 * kMiB);
  ASSERT_TRUE(buffer.grow(2 * kMiB));
  std::memset(buffer.data(), 1, buffer.size());
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident(256 * kMiB / page_bytes);
  ASSERT_EQ(mincore(buffer.data(), 256 * kMiB, resident.data()), 0);
  const auto n = std::count_if(resident.begin(), resident.end(), [](unsigned char page) { return (page & 1) != 0; });
  EXPECT_EQ(static_cast<uint64_t>(n), 2 * kMiB / page_bytes);
}

TEST(Buffer, PartsAreClaimedAndGivenBackOneByOne) {
  Budget budget;
  budget.allot(Allotted::workspace, 3 * kMiB);
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  {
    Buffer buffer = Buffer::in_parts(budget, Allotted::workspace, 8 * kMiB);
    EXPECT_EQ(budget.used(Allotted::workspace), 0u);
    EXPECT_EQ(buffer.reserved_span().size(), 8 * kMiB);
    const auto part = buffer.reserved_span().subspan(4 * kMiB + 1000, 2 * kMiB);
    ASSERT_TRUE(buffer.claim(part));
    ASSERT_TRUE(buffer.claim(buffer.reserved_span().first(kMiB)));
    EXPECT_FALSE(buffer.claim(buffer.reserved_span().last(1)));
    EXPECT_EQ(buffer.size(), 3 * kMiB);
    std::memset(part.data(), 1, part.size());
    buffer.give_back(part);
    EXPECT_EQ(budget.used(Allotted::workspace), kMiB);
    const auto kept = [&](std::byte b) { return b == std::byte{1}; };
    EXPECT_LT(std::count_if(part.begin(), part.end(), kept), static_cast<std::ptrdiff_t>(2 * page_bytes))
        << "whole pages are the system's";
    EXPECT_TRUE(buffer.claim(part));
    buffer.give_back(part.first(0));
    buffer.give_back(part.first(10));
    EXPECT_EQ(budget.used(Allotted::workspace), 3 * kMiB - 10);
  }
  EXPECT_EQ(budget.used(Allotted::workspace), 0u);
}

TEST(Buffer, TellsWhenTheSystemHasNoMoreAddresses) {
  Budget budget;
  const uint64_t absurd = uint64_t{1} << 60;
  budget.allot(Allotted::trunk, absurd);
  try {
    Buffer buffer(budget, Allotted::trunk, absurd);
    FAIL() << "2^60 bytes were granted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::io);
  }
  EXPECT_EQ(budget.used(Allotted::trunk), 0u);
}

TEST(BufferDeathTest, TakingMoreThanTheAllotmentIsABug) {
  Budget budget;
  budget.allot(Allotted::trunk, 10);
  EXPECT_DEATH(Buffer(budget, Allotted::trunk, 11), "CHECK");
}

TEST(Arena, CountsFirstAndCutsLater) {
  const auto lay_out = [](Arena& arena) {
    const auto a = arena.take<float>(3);
    const auto b = arena.take<int64_t>(5);
    return std::pair(a, b);
  };
  Arena counting;
  EXPECT_EQ(lay_out(counting).first.data(), nullptr);
  EXPECT_EQ(counting.used_bytes(), 128u);
  Budget budget;
  budget.allot(Allotted::workspace, 128);
  Buffer buffer(budget, Allotted::workspace, counting.used_bytes());
  Arena arena(buffer);
  const auto [a, b] = lay_out(arena);
  EXPECT_EQ(a.size(), 3u);
  EXPECT_EQ(reinterpret_cast<std::byte*>(b.data()), buffer.data() + 64);
}

}  // namespace
}  // namespace flashmoe
