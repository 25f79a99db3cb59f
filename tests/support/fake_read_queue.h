// A disk in memory, and a read queue on it that completes in any order and fails when told to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/read_queue.h"

namespace flashmoe {

// Files that exist in memory only. Their descriptors are numbers of this disk, of no use to the kernel.
class FakeDisk {
 public:
  // Adds a file and returns it; its index among the files is its descriptor.
  std::shared_ptr<File> add(std::string path, std::vector<std::byte> content);
  const std::vector<std::byte>& content(int fd) const { return *contents_.at(static_cast<size_t>(fd)); }

  // Reads of `fd` that touch byte `offset` fail with `error`, the next `n_times` of them.
  void fail_at(int fd, uint64_t offset, int error, int n_times);
  void heal() { faults_.clear(); }
  // The file ends here from now on, whatever its File says.
  void truncate(int fd, uint64_t bytes) { ends_[fd] = bytes; }

  // What a read gives: 0, or an errno.
  int read(const ReadRequest& request);
  uint64_t n_reads() const { return n_reads_; }
  uint64_t dropped_bytes() const { return *dropped_bytes_; }  // from the page cache, of all files

 private:
  struct FaultyByte {
    int fd;
    uint64_t offset;
    int error;
    int n_times;
  };
  std::vector<std::shared_ptr<std::vector<std::byte>>> contents_;
  std::vector<FaultyByte> faults_;
  std::map<int, uint64_t> ends_;
  uint64_t n_reads_ = 0;
  std::shared_ptr<uint64_t> dropped_bytes_ = std::make_shared<uint64_t>(0);
};

inline constexpr int kAlways = 1 << 30;

// Completes up to `depth` reads in a random order that depends on the seed alone, a few at a time. Memory is written
// when a read completes, after up to `max_delay` waits, and checked to be untouched by anyone else until then.
class FakeReadQueue final : public ReadQueue {
 public:
  FakeReadQueue(std::shared_ptr<FakeDisk> disk, uint32_t seed, int max_delay = 3, int depth = 16);
  ~FakeReadQueue() override;

  void submit(std::span<const ReadRequest> requests) override;
  std::span<const ReadDone> wait(bool block) override;
  int pending() const override { return static_cast<int>(waiting_.size()); }
  const char* name() const override { return "fake"; }
  int depth() const override { return depth_; }

 private:
  struct Waiting {
    ReadRequest request;
    int n_waits_left = 0;
  };
  void complete(size_t i);

  std::shared_ptr<FakeDisk> disk_;
  std::mt19937 random_;
  int max_delay_, depth_;
  std::vector<Waiting> waiting_;
  std::vector<ReadDone> done_;
};

}  // namespace flashmoe
