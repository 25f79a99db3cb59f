// A read queue on a disk in memory whose reads take their time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "support/fake_read_queue.h"

namespace flashmoe {

// Any number of reads at once, each as long as `ns_of` says when it is submitted, in real time.
class SlowReadQueue final : public ReadQueue {
 public:
  SlowReadQueue(std::shared_ptr<FakeDisk> disk, std::function<uint64_t(const ReadRequest&)> ns_of, int depth)
      : disk_(std::move(disk)), ns_of_(std::move(ns_of)), depth_(depth) {}

  void submit(std::span<const ReadRequest> requests) override;
  std::span<const ReadDone> wait(bool block) override;
  int pending() const override { return static_cast<int>(waiting_.size()); }
  const char* name() const override { return "slow"; }
  int depth() const override { return depth_; }

 private:
  struct Waiting {
    ReadRequest request;
    uint64_t done_ns;
  };
  std::shared_ptr<FakeDisk> disk_;
  std::function<uint64_t(const ReadRequest&)> ns_of_;
  int depth_;
  std::vector<Waiting> waiting_;
  std::vector<ReadDone> done_;
};

}  // namespace flashmoe
