// Experts out of real files, through each queue, directly and buffered; and what that costs in allocations.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "experts/streamed.h"
#include "flashmoe/error.h"
#include "io/direct_alignment.h"
#include "support/allocation_count.h"
#include "support/fake_experts.h"

namespace flashmoe {
namespace {

class RealFiles : public testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  RealFiles() : experts_(make_fake_experts(Layout::gate_up, 4, 16, 3, true)) {
    for (int file = 0; file < 2; ++file) {
      std::string path = testing::TempDir() + "/experts_XXXXXX";
      const int fd = mkstemp(path.data());
      const std::vector<std::byte>& content = experts_.disk->content(file);
      EXPECT_EQ(write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
      EXPECT_EQ(fsync(fd), 0);
      close(fd);
      paths_.push_back(path);
      files_.push_back(open_file(path));
    }
  }
  ~RealFiles() override {
    for (const std::string& path : paths_) unlink(path.c_str());
  }

  // Null where this machine has no such thing.
  std::unique_ptr<ReadQueue> make_queue() {
    const auto [name, direct] = GetParam();
    alignment_ = direct ? probe_direct_alignment(*files_[0]) : 1;
    if (alignment_ == 0) return nullptr;
    try {
      return name == std::string("pread") ? make_pread_queue(4) : make_uring_queue(8);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::unsupported);
      return nullptr;
    }
  }
  bool direct() const { return std::get<1>(GetParam()); }

  FakeExperts experts_;
  std::vector<std::string> paths_;
  std::vector<std::shared_ptr<File>> files_;
  uint32_t alignment_ = 1;
};

TEST_P(RealFiles, StreamTheRightBytesWithoutAllocating) {
  auto queue = make_queue();
  if (queue == nullptr) GTEST_SKIP() << "not available on this machine or file system";
  Budget budget;
  budget.allot(Allotted::expert_cache, 2 * streamed_sizes(experts_.table, alignment_).floor_bytes);
  const auto source = make_streamed_experts(experts_.table, files_, std::move(queue),
                                            {.direct = direct(), .alignment = alignment_}, budget);
  std::mt19937 random(1);
  std::vector<int32_t> picks(3);
  uint64_t before = 0;
  for (int token = 0; token < 300; ++token) {
    if (token == 100) before = allocation_count();
    for (int layer = 0; layer < 4; ++layer) {
      for (size_t i = 0; i < 3; ++i) picks[i] = static_cast<int32_t>(i * 5 + random() % 5);
      Lease lease = source->acquire(layer, picks);
      while (!lease.next().empty()) {
      }
      for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(same_as_on_disk(experts_, layer, picks[static_cast<size_t>(i)], lease.wait(i)));
      }
    }
  }
  EXPECT_EQ(allocation_count() - before, 0u);
  EXPECT_GT(source->cache_stats().misses, 100u);
  EXPECT_GT(source->cache_stats().hits, 100u);
  EXPECT_GT(source->io_stats().bytes_read, 0u);
}

TEST_P(RealFiles, FillWithoutBeingAsked) {
  auto queue = make_queue();
  if (queue == nullptr) GTEST_SKIP() << "not available on this machine or file system";
  Budget budget;
  budget.allot(Allotted::expert_cache, streamed_sizes(experts_.table, alignment_).full_bytes);
  const auto source = make_streamed_experts(experts_.table, files_, std::move(queue),
                                            {.direct = direct(), .alignment = alignment_, .warm_up = true}, budget);
  uint64_t last = 0;
  source->fill([&](uint64_t bytes) {
    EXPECT_GE(bytes, last);
    last = bytes;
  });
  EXPECT_GE(last, experts_.table.bytes());
  uint64_t before = 0;
  for (int round = 0; round < 3; ++round) {
    if (round == 2) before = allocation_count();
    for (int layer = 0; layer < 4; ++layer) {
      for (int32_t expert = 0; expert < 16; ++expert) {
        Lease lease = source->acquire(layer, {&expert, 1});
        ASSERT_TRUE(lease.all_here());
        ASSERT_EQ(lease.next().size(), 1u);
        ASSERT_TRUE(same_as_on_disk(experts_, layer, expert, lease.wait(0)));
      }
    }
  }
  EXPECT_EQ(allocation_count() - before, 0u);
  EXPECT_EQ(source->cache_stats().misses, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, RealFiles, testing::Combine(testing::Values("io_uring", "pread"), testing::Bool()));

}  // namespace
}  // namespace flashmoe
