#include "io/read_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "flashmoe/error.h"
#include "io/read_queue_progress.h"

namespace flashmoe {
namespace {

constexpr size_t kFileBytes = 3 * 1024 * 1024 + 1234;

std::byte byte_at(uint64_t offset) { return static_cast<std::byte>((offset * 2654435761U) >> 13); }

struct AlignedFree {
  void operator()(std::byte* p) const { std::free(p); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedFree>;
AlignedBytes aligned_bytes(size_t n) { return AlignedBytes(static_cast<std::byte*>(std::aligned_alloc(4096, n))); }

class ReadQueueTest : public testing::TestWithParam<const char*> {
 protected:
  ReadQueueTest() {
    path_ = testing::TempDir() + "/read_queue_XXXXXX";
    fd_ = mkstemp(path_.data());
    std::vector<std::byte> content(kFileBytes);
    for (size_t i = 0; i < content.size(); ++i) content[i] = byte_at(i);
    EXPECT_EQ(write(fd_, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  }
  ~ReadQueueTest() override {
    close(fd_);
    unlink(path_.c_str());
  }

  bool is_uring() const { return GetParam() == std::string("io_uring"); }
  std::unique_ptr<ReadQueue> make(int depth) {
    if (!is_uring()) return make_pread_queue(depth);
    try {
      return make_uring_queue(depth);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::unsupported);
      why_not_ = error.what();
      return nullptr;
    }
  }
  // Waits for everything; the errors by tag, each of which must occur once.
  static std::map<uint64_t, int> drain(ReadQueue& queue) {
    std::map<uint64_t, int> errors;
    while (queue.pending() > 0) {
      const auto done = queue.wait(true);
      EXPECT_FALSE(done.empty());
      for (const ReadDone& d : done) EXPECT_TRUE(errors.emplace(d.tag, d.error).second);
    }
    EXPECT_TRUE(queue.wait(true).empty());
    return errors;
  }

  std::string path_, why_not_;
  int fd_ = -1;
};

#define MAKE_OR_SKIP(queue, depth) \
  auto queue = make(depth);        \
  if (queue == nullptr) GTEST_SKIP() << why_not_

TEST_P(ReadQueueTest, ReadsThousandsFarBeyondItsDepth) {
  MAKE_OR_SKIP(queue, 8);
  EXPECT_STREQ(queue->name(), GetParam());
  EXPECT_EQ(queue->depth(), 8);
  constexpr size_t kReads = 5000, kBytes = 700;
  std::vector<std::byte> memory(kReads * kBytes);
  std::vector<ReadRequest> requests;
  std::mt19937 random(1);
  for (size_t i = 0; i < kReads; ++i) {
    const uint64_t bytes = 1 + random() % kBytes;
    requests.push_back({fd_, random() % (kFileBytes - kBytes), bytes, bytes, &memory[i * kBytes], i});
  }
  const std::span all(requests);
  queue->submit(all.first(10));
  EXPECT_EQ(queue->pending(), 10);
  queue->submit(all.subspan(10));
  EXPECT_EQ(queue->pending(), static_cast<int>(kReads));
  const auto errors = drain(*queue);
  EXPECT_EQ(errors.size(), kReads);
  for (const auto& [tag, error] : errors) {
    ASSERT_EQ(error, 0);
    const ReadRequest& r = requests[tag];
    for (uint64_t b = 0; b < r.bytes; ++b) ASSERT_EQ(r.dest[b], byte_at(r.offset + b));
  }
}

TEST_P(ReadQueueTest, IsUsedAgainAndAgain) {
  MAKE_OR_SKIP(queue, 4);
  std::vector<std::byte> memory(64 * 9);
  for (int round = 0; round < 200; ++round) {
    for (uint64_t i = 0; i < 9; ++i) {
      const uint64_t offset = static_cast<uint64_t>(round) * 1000 + i;
      const ReadRequest request{fd_, offset, 64, 64, &memory[i * 64], i};
      queue->submit({&request, 1});
    }
    ASSERT_EQ(drain(*queue).size(), 9u);
    ASSERT_EQ(memory[8 * 64], byte_at(static_cast<uint64_t>(round) * 1000 + 8));
  }
}

TEST_P(ReadQueueTest, TheEndOfTheFileIsFineOnceWhatIsNeededHasArrived) {
  MAKE_OR_SKIP(queue, 2);
  std::vector<std::byte> memory(3 * 8192);
  const uint64_t start = kFileBytes - 100;
  const std::vector<ReadRequest> requests = {
      {fd_, start, 8192, 100, memory.data(), 0},
      {fd_, start, 8192, 101, memory.data() + 8192, 1},
      {fd_, kFileBytes + 4096, 10, 1, memory.data() + 16384, 2},
  };
  queue->submit(requests);
  const auto errors = drain(*queue);
  EXPECT_EQ(errors.at(0), 0);
  EXPECT_EQ(errors.at(1), ENODATA);
  EXPECT_EQ(errors.at(2), ENODATA);
  for (uint64_t b = 0; b < 100; ++b) ASSERT_EQ(memory[b], byte_at(start + b));
}

TEST_P(ReadQueueTest, AnErrorIsToldAndLeavesTheOthersAlone) {
  MAKE_OR_SKIP(queue, 4);
  const int folder = open("/", O_RDONLY | O_DIRECTORY);
  std::vector<std::byte> memory(4 * 512);
  const std::vector<ReadRequest> requests = {
      {fd_, 0, 512, 512, memory.data(), 10},
      {-1, 0, 512, 512, memory.data() + 512, 11},
      {folder, 0, 512, 512, memory.data() + 1024, 12},
      {fd_, 512, 512, 512, memory.data() + 1536, 13},
  };
  queue->submit(requests);
  const auto errors = drain(*queue);
  close(folder);
  EXPECT_EQ(errors.at(10), 0);
  EXPECT_EQ(errors.at(11), EBADF);
  EXPECT_EQ(errors.at(12), EISDIR);
  EXPECT_EQ(errors.at(13), 0);
  EXPECT_EQ(memory[1536], byte_at(512));
}

TEST_P(ReadQueueTest, AReadThatComesInPiecesIsContinued) {
  MAKE_OR_SKIP(queue, 2);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::vector<std::byte> memory(3000);
  if (!is_uring()) {  // pread refuses pipes; that it is an error and no hang is worth a test too
    const ReadRequest request{ends[0], 0, 3000, 3000, memory.data(), 1};
    queue->submit({&request, 1});
    EXPECT_EQ(drain(*queue).at(1), ESPIPE);
  } else {
    // An offset means nothing to a pipe, and io_uring reads what is there.
    std::thread writer([&] {
      for (uint64_t i = 0; i < 3; ++i) {
        std::vector<std::byte> part(1000, static_cast<std::byte>(i + 1));
        EXPECT_EQ(write(ends[1], part.data(), part.size()), 1000);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
    const ReadRequest request{ends[0], 0, 3000, 3000, memory.data(), 1};
    queue->submit({&request, 1});
    EXPECT_EQ(drain(*queue).at(1), 0);
    writer.join();
    EXPECT_EQ(memory[0], std::byte{1});
    EXPECT_EQ(memory[1500], std::byte{2});
    EXPECT_EQ(memory[2999], std::byte{3});
  }
  close(ends[0]);
  close(ends[1]);
}

TEST_P(ReadQueueTest, WithOneInFlightCompletionsKeepTheirOrder) {
  MAKE_OR_SKIP(queue, 1);
  std::vector<std::byte> memory(100);
  std::vector<ReadRequest> requests;
  for (uint64_t i = 0; i < 100; ++i) requests.push_back({fd_, i, 1, 1, &memory[i], i});
  queue->submit(requests);
  uint64_t next = 0;
  while (queue->pending() > 0) {
    for (const ReadDone& done : queue->wait(true)) EXPECT_EQ(done.tag, next++);
  }
  EXPECT_EQ(next, 100u);
}

TEST_P(ReadQueueTest, PollingNeverBlocks) {
  MAKE_OR_SKIP(queue, 4);
  EXPECT_TRUE(queue->wait(false).empty());
  EXPECT_TRUE(queue->wait(true).empty());  // nothing is pending
  std::vector<std::byte> memory(4096);
  const ReadRequest request{fd_, 0, 4096, 4096, memory.data(), 5};
  queue->submit({&request, 1});
  size_t n = 0;
  while (n == 0) n = queue->wait(false).size();
  EXPECT_EQ(n, 1u);
  EXPECT_EQ(queue->pending(), 0);
}

TEST_P(ReadQueueTest, DestructionWaitsForReadsInFlight) {
  for (int round = 0; round < 20; ++round) {
    auto memory = std::make_unique<std::vector<std::byte>>(64 * 65536);
    {
      MAKE_OR_SKIP(queue, 4);
      std::vector<ReadRequest> requests;
      for (uint64_t i = 0; i < 64; ++i) requests.push_back({fd_, i * 1000, 65536, 65536, &(*memory)[i * 65536], i});
      queue->submit(requests);
      if (round % 2 == 0) static_cast<void>(queue->wait(true));
    }
    memory.reset();  // ASan would tell of a write after this
  }
}

TEST_P(ReadQueueTest, DirectReadsEndingInTheLastBlockOfTheFile) {
  MAKE_OR_SKIP(queue, 4);
  const int direct = open(path_.c_str(), O_RDONLY | O_DIRECT);
  if (direct < 0) GTEST_SKIP() << "the temporary folder's file system has no O_DIRECT";
  ASSERT_EQ(fsync(fd_), 0);
  constexpr uint64_t kBlocks = (kFileBytes + 4095) / 4096;
  const AlignedBytes memory = aligned_bytes(kBlocks * 4096);
  std::vector<ReadRequest> requests;
  for (uint64_t at = 0; at < kBlocks * 4096; at += 512 * 1024) {
    const uint64_t bytes = std::min<uint64_t>(512 * 1024, kBlocks * 4096 - at);
    requests.push_back({direct, at, bytes, std::min(bytes, kFileBytes - at), memory.get() + at, at});
  }
  requests.push_back({direct, (kBlocks - 1) * 4096, 4096, 4096, aligned_bytes(4096).release(), 1});
  queue->submit(requests);
  const auto errors = drain(*queue);
  std::free(requests.back().dest);
  close(direct);
  if (errors.at(0) == EINVAL) GTEST_SKIP() << "direct reads want more than 4096-byte alignment here";
  EXPECT_EQ(errors.at(1), ENODATA);
  for (const auto& [tag, error] : errors) EXPECT_TRUE(error == 0 || tag == 1) << tag;
  for (uint64_t b = 0; b < kFileBytes; ++b) ASSERT_EQ(memory[b], byte_at(b));
}

INSTANTIATE_TEST_SUITE_P(Both, ReadQueueTest, testing::Values("io_uring", "pread"));

TEST(ReadProgress, AShortDirectReadGoesOnAtAnAlignedOffset) {
  std::byte* dest = reinterpret_cast<std::byte*>(uintptr_t{1} << 20);
  ReadProgress read({3, 8192, 16384, 16384, dest, 0});
  EXPECT_FALSE(read.advance(5000));
  EXPECT_EQ(read.next_offset(), 8192u + 4096);
  EXPECT_EQ(read.next_dest(), dest + 4096);
  EXPECT_EQ(read.next_bytes(), 16384u - 4096);
  EXPECT_FALSE(read.advance(-EINTR));
  EXPECT_EQ(read.next_offset(), 8192u + 4096);
  EXPECT_TRUE(read.advance(16384 - 4096));
  EXPECT_EQ(read.error(), 0);
}

TEST(ReadProgress, AReadThatComesNoFurtherIsAtTheEnd) {
  ReadProgress read({3, 8192, 16384, 16384, nullptr, 0});
  EXPECT_FALSE(read.advance(5000));
  EXPECT_TRUE(read.advance(5000 - 4096));  // the same last byte again
  EXPECT_EQ(read.error(), ENODATA);
}

TEST(ReadProgress, UnalignedReadsGoOnWhereTheyStopped) {
  ReadProgress read({3, 7, 1000, 900, nullptr, 0});
  EXPECT_FALSE(read.advance(333));
  EXPECT_EQ(read.next_offset(), 340u);
  EXPECT_FALSE(read.advance(333));
  EXPECT_TRUE(read.advance(234));
  EXPECT_EQ(read.error(), 0);
}

TEST(ReadProgress, AFailureIsTriedThriceWithGrowingPauses) {
  ReadProgress read({3, 0, 10, 10, nullptr, 0});
  EXPECT_FALSE(read.advance(-EIO));
  const uint64_t first = read.pause_ns();
  EXPECT_GT(first, 0u);
  EXPECT_FALSE(read.advance(-EIO));
  EXPECT_GT(read.pause_ns(), first);
  EXPECT_TRUE(read.advance(-EIO));
  EXPECT_EQ(read.done().error, EIO);
  EXPECT_EQ(read.done().n_tries, 3);
}

TEST(ReadProgress, WhatComesAfterAFailureCounts) {
  ReadProgress read({3, 0, 10, 10, nullptr, 0});
  EXPECT_FALSE(read.advance(-EIO));
  EXPECT_FALSE(read.advance(4));
  EXPECT_EQ(read.next_offset(), 4u);
  EXPECT_EQ(read.pause_ns(), 0u);
  EXPECT_TRUE(read.advance(6));
  EXPECT_EQ(read.error(), 0);
}

TEST(ReadProgress, RefusalsEndWithinSeconds) {
  ReadProgress read({3, 0, 10, 10, nullptr, 0});
  uint64_t sum_ns = 0;
  while (!read.advance(-EAGAIN)) sum_ns += read.pause_ns();
  EXPECT_GT(sum_ns, 500'000'000u);
  EXPECT_LT(sum_ns, 3'000'000'000u);
}

TEST(ReadProgress, EndlessRefusalsAreReported) {
  ReadProgress read({3, 0, 10, 10, nullptr, 0});
  int n = 0;
  while (!read.advance(-EAGAIN)) ASSERT_LT(++n, 1000000);
  EXPECT_EQ(read.error(), EAGAIN);
}

TEST(ReadProgress, OneTransferStaysBelowTheKernelsLimit) {
  ReadProgress read({3, 0, uint64_t{5} << 30, uint64_t{5} << 30, nullptr, 0});
  EXPECT_EQ(read.next_bytes(), 1U << 30);
}

}  // namespace
}  // namespace flashmoe
