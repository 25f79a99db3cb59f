#include "io/spread_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "support/fake_read_queue.h"
#include "support/slow_read_queue.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

constexpr size_t kFileBytes = 300'000;
constexpr int kDepth = 4;

std::vector<std::byte> content(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(kFileBytes);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

// Two files on each of n drives, all on one disk in memory. Descriptors: 2 * drive + file.
class SpreadQueueTest : public testing::TestWithParam<int> {
 protected:
  void make(int n_drives, uint64_t chunk_bytes, uint32_t seed = 1) {
    disk_ = std::make_shared<FakeDisk>();
    std::vector<Drive> drives;
    for (int d = 0; d < n_drives; ++d) {
      Drive drive{.name = "drive" + std::to_string(d), .files = {}, .depth = kDepth};
      for (unsigned f = 0; f < 2; ++f) {
        drive.files.push_back(disk_->add(drive.name + "/f" + std::to_string(f), content(f)));
      }
      drives.push_back(std::move(drive));
    }
    auto inner = std::make_unique<FakeReadQueue>(disk_, seed, 3, n_drives * kDepth);
    queue_ = make_spread_queue(std::move(inner), std::move(drives), {.chunk_bytes = chunk_bytes});
  }

  // Reads at random places; the errors by tag. Checks the bytes of those without.
  std::map<uint64_t, int> read_some(size_t n, uint64_t most_bytes) {
    std::mt19937 random(7);
    memory_.assign(n * most_bytes, std::byte{0});
    std::vector<ReadRequest> requests;
    for (size_t i = 0; i < n; ++i) {
      const uint64_t bytes = 1 + random() % most_bytes;
      requests.push_back({.fd = static_cast<int>(i % 2),
                          .offset = random() % (kFileBytes - bytes),
                          .bytes = bytes,
                          .needed_bytes = bytes,
                          .dest = &memory_[i * most_bytes],
                          .tag = i});
    }
    std::map<uint64_t, int> errors;
    for (size_t i = 0; i < n; i += 10) queue_->submit(std::span(requests).subspan(i, std::min<size_t>(10, n - i)));
    EXPECT_EQ(queue_->pending(), static_cast<int>(n));
    while (queue_->pending() > 0) {
      for (const ReadDone& done : queue_->wait(true)) EXPECT_TRUE(errors.emplace(done.tag, done.error).second);
    }
    for (const auto& [tag, error] : errors) {
      const ReadRequest& r = requests[tag];
      if (error != 0) continue;
      EXPECT_EQ(std::memcmp(r.dest, disk_->content(r.fd).data() + r.offset, r.bytes), 0) << tag;
    }
    return errors;
  }
  static int n_failed(const std::map<uint64_t, int>& errors) {
    int n = 0;
    for (const auto& [tag, error] : errors) n += error != 0;
    return n;
  }

  std::shared_ptr<FakeDisk> disk_;
  std::unique_ptr<ReadQueue> queue_;
  std::vector<std::byte> memory_;
};

TEST_P(SpreadQueueTest, GivesTheFilesBytesInWholeReadsAndInParts) {
  for (const uint64_t chunk : {uint64_t{0}, uint64_t{4096}, uint64_t{16384}, uint64_t{1} << 20}) {
    for (uint32_t seed = 0; seed < 5; ++seed) {
      make(GetParam(), chunk, seed);
      const auto errors = read_some(200, 50'000);
      ASSERT_EQ(errors.size(), 200u);
      EXPECT_EQ(n_failed(errors), 0);
    }
  }
}

TEST_P(SpreadQueueTest, WithoutASoundDriveTheErrorIsTold) {
  make(GetParam(), 4096);
  for (int d = 0; d < GetParam(); ++d) disk_->fail_at(2 * d, 100'000, EIO, kAlways);
  std::vector<std::byte> memory(20'000);
  const std::vector<ReadRequest> requests = {{0, 90'000, 20'000, 20'000, memory.data(), 5}};
  for (int round = 0; round < 5; ++round) {
    queue_->submit(requests);
    const auto done = queue_->wait(true);
    ASSERT_EQ(done.size(), 1u);
    EXPECT_EQ(done[0].tag, 5u);
    EXPECT_EQ(done[0].error, EIO);
  }
  EXPECT_EQ(n_failed(read_some(20, 1000)), 0) << "sound places are still read";
}

TEST_P(SpreadQueueTest, TheEndOfTheFileIsFineOnceWhatIsNeededHasArrived) {
  make(GetParam(), 4096);
  std::vector<std::byte> memory(3 * 32768);
  const uint64_t start = 290'000;
  const std::vector<ReadRequest> requests = {{1, start, 32768, kFileBytes - start, memory.data(), 0},
                                             {1, start, 32768, kFileBytes - start + 1, memory.data() + 32768, 1},
                                             {1, start, 100, 0, memory.data() + 65536, 2}};
  queue_->submit(requests);
  std::map<uint64_t, int> errors;
  while (queue_->pending() > 0) {
    for (const ReadDone& done : queue_->wait(true)) errors[done.tag] = done.error;
  }
  EXPECT_EQ(errors.at(0), 0);
  EXPECT_EQ(errors.at(1), ENODATA);
  EXPECT_EQ(errors.at(2), 0);
  EXPECT_EQ(std::memcmp(memory.data(), disk_->content(1).data() + start, kFileBytes - start), 0);
}

INSTANTIATE_TEST_SUITE_P(Drives, SpreadQueueTest, testing::Values(1, 2, 3));

using Mirrored = SpreadQueueTest;

TEST_F(Mirrored, BothDrivesAreRead) {
  make(2, 0);
  read_some(200, 5000);
  EXPECT_NE(std::string(queue_->name()).find("fake from 2 drives (5"), std::string::npos) << queue_->name();
}

TEST_F(Mirrored, ABadSectorIsReadFromTheOtherDrive) {
  make(2, 4096);
  disk_->fail_at(0, 100'000, EIO, 1);
  disk_->fail_at(3, 200'000, EIO, 1);
  EXPECT_EQ(n_failed(read_some(300, 30'000)), 0);
  EXPECT_EQ(std::string(queue_->name()).find("without"), std::string::npos) << "one failure is no reason";
}

TEST_F(Mirrored, ADriveThatFailsAgainAndAgainIsLeftAloneAndNamed) {
  make(2, 0);
  for (uint64_t at = 0; at < kFileBytes; at += 500) {
    disk_->fail_at(2, at, EIO, kAlways);
    disk_->fail_at(3, at, EIO, kAlways);
  }
  EXPECT_EQ(n_failed(read_some(300, 5000)), 0);
  EXPECT_NE(std::string(queue_->name()).find("without drive1: Input/output error"), std::string::npos)
      << queue_->name();
  EXPECT_EQ(queue_->missing_drives(), "drive1: Input/output error");
  const uint64_t before = disk_->n_reads();
  EXPECT_EQ(n_failed(read_some(100, 5000)), 0);
  EXPECT_EQ(disk_->n_reads() - before, 100u);
}

// One file on each of two drives, the second of which takes so long.
class SlowDrive : public testing::Test {
 protected:
  SlowDrive() {
    std::vector<Drive> drives;
    for (const char* name : {"a", "b"}) {
      drives.push_back({.name = name, .files = {disk_->add(std::string(name) + "/f", content(1))}, .depth = kDepth});
    }
    const auto ns_of = [this](const ReadRequest& request) {
      n_of_b_ += request.fd;
      return request.fd == 1 ? b_ns_ : 100'000;
    };
    auto inner = std::make_unique<SlowReadQueue>(disk_, ns_of, 2 * kDepth);
    queue_ = make_spread_queue(std::move(inner), std::move(drives), {});
  }
  // As a token does: a few reads at once, all waited for. How many of the second drive were begun.
  int read(int n_rounds) {
    const int before = n_of_b_;
    std::vector<std::byte> memory(4 * 5000);
    for (int round = 0; round < n_rounds; ++round) {
      for (uint64_t i = 0; i < 4; ++i) {
        const ReadRequest request{0, 7000 * i, 5000, 5000, &memory[5000 * i], i};
        queue_->submit({&request, 1});
      }
      while (queue_->pending() > 0) {
        for (const ReadDone& done : queue_->wait(true)) EXPECT_EQ(done.error, 0);
      }
      for (size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(std::memcmp(&memory[5000 * i], disk_->content(0).data() + 7000 * i, 5000), 0);
      }
    }
    return n_of_b_ - before;
  }
  // Of the reads of 100 rounds those of the second drive, once they are a share: beside other programs, whose turns are
  // as long as a slow read, either drive may be left alone for a while.
  int shared() {
    int n = 0;
    for (int i = 0; i < 100 && n < 20; ++i) n = read(100);
    return n;
  }

  std::shared_ptr<FakeDisk> disk_ = std::make_shared<FakeDisk>();
  uint64_t b_ns_ = 100'000;
  int n_of_b_ = 0;
  std::unique_ptr<ReadQueue> queue_;
};

TEST_F(SlowDrive, IsLeftAloneAtOnceAndTakesPartAgainWhenItHasRecovered) {
  EXPECT_GE(shared(), 20) << "equal drives share";
  b_ns_ = 100'000'000;
  EXPECT_LE(read(300), 4) << "a round and a probe or two";
  EXPECT_NE(std::string(queue_->name()).find("b left alone while it is slow"), std::string::npos) << queue_->name();
  b_ns_ = 100'000;
  EXPECT_GE(shared(), 20) << queue_->name();
}

TEST_F(SlowDrive, NobodyWaitsForAProbe) {
  b_ns_ = 1'000'000'000;
  read(1);
  const uint64_t start = now_ns();
  uint64_t longest = 0;
  while (now_ns() - start < 1'000'000'000) {
    const uint64_t before = now_ns();
    read(1);
    longest = std::max(longest, now_ns() - before);
  }
  EXPECT_GE(n_of_b_, 3) << "it is asked";
  EXPECT_LT(longest, b_ns_ * 3 / 4);
}

TEST_F(SlowDrive, IsUsedWhereNoOtherIsLeft) {
  disk_->fail_at(0, 0, EIO, kAlways);  // so that the first is out of use
  disk_->fail_at(0, 7000, EIO, kAlways);
  disk_->fail_at(0, 14'000, EIO, kAlways);
  b_ns_ = 60'000'000;
  EXPECT_GE(read(5), 15);
}

// Files that exist, so that they can be changed while they are read.
class ChangingFiles : public testing::Test {
 protected:
  ChangingFiles() {
    for (const char* drive : {"a", "b"}) {
      const std::string path = folder_.write(std::string(drive) + "/model", std::string(100'000, 'x'));
      drives_.push_back({.name = drive, .files = {open_file(path)}, .depth = 2});
    }
  }
  std::unique_ptr<ReadQueue> queue(size_t n_drives, uint64_t watch_ns = 0) {
    drives_.resize(n_drives);
    fd_ = drives_[0].files[0]->buffered_fd();
    return make_spread_queue(make_pread_queue(2), drives_, {.chunk_bytes = 0, .watch_ns = watch_ns});
  }
  int read(ReadQueue& queue) {
    std::vector<std::byte> memory(20'000);
    const ReadRequest request{fd_, 50'000, 20'000, 20'000, memory.data(), 1};
    queue.submit({&request, 1});
    const int error = queue.wait(true)[0].error;
    if (error == 0) {
      EXPECT_EQ(memory, std::vector<std::byte>(20'000, std::byte{'x'}));
    }
    return error;
  }
  void write_to_the_first() {
    const int fd = open((folder_ / "a/model").c_str(), O_WRONLY);
    usleep(20'000);  // file systems stamp in steps of a tick
    ASSERT_EQ(pwrite(fd, "y", 1, 3), 1);
    close(fd);
  }

  TempDir folder_;
  std::vector<Drive> drives_;
  int fd_ = -1;
};

TEST_F(ChangingFiles, AnErrorFoundWhileSubmittingIsHandedOut) {
  const auto one = queue(1);
  ASSERT_EQ(truncate((folder_ / "a/model").c_str(), 100), 0);
  read(*one);
  EXPECT_EQ(read(*one), ESTALE);
  EXPECT_EQ(one->pending(), 0);
}

TEST_F(ChangingFiles, AFileWrittenToIsAnError) {
  const auto one = queue(1);
  EXPECT_EQ(read(*one), 0);
  write_to_the_first();
  EXPECT_EQ(read(*one), ESTALE);
  EXPECT_EQ(read(*one), ESTALE);
}

TEST_F(ChangingFiles, WhatWasReadBehindAWriteIsNeverHandedOut) {
  const auto one = queue(1, 3'600'000'000'000);
  EXPECT_EQ(read(*one), 0);
  write_to_the_first();
  EXPECT_EQ(read(*one), ESTALE);
}

TEST_F(ChangingFiles, AFileReplacedIsAnError) {
  const auto one = queue(1);
  folder_.write("a/new", std::string(100'000, 'z'));
  ASSERT_EQ(rename((folder_ / "a/new").c_str(), (folder_ / "a/model").c_str()), 0);
  EXPECT_EQ(read(*one), ESTALE);
}

TEST_F(ChangingFiles, AFileCutShortIsAnError) {
  const auto one = queue(1);
  ASSERT_EQ(truncate((folder_ / "a/model").c_str(), 60'000), 0);
  const int error = read(*one);
  EXPECT_TRUE(error == ESTALE || error == ENODATA) << error;
}

TEST_F(ChangingFiles, AFileRemovedIsStillThere) {
  const auto one = queue(1);
  ASSERT_EQ(unlink((folder_ / "a/model").c_str()), 0);
  EXPECT_EQ(read(*one), 0);
}

TEST_F(ChangingFiles, WithAMirrorTheOtherDriveGoesOn) {
  const auto both = queue(2);
  ASSERT_EQ(truncate((folder_ / "a/model").c_str(), 100), 0);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(read(*both), 0);
  EXPECT_NE(std::string(both->name()).find("without a: a file changed"), std::string::npos) << both->name();
}

}  // namespace
}  // namespace flashmoe
