// A read queue over real files whose completions come in another order, or fail.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "io/read_queue.h"

namespace flashmoe {

class DisturbedReadQueue final : public ReadQueue {
 public:
  // Hands completions out one at a time in an order that the seed decides, whatever order the disk had.
  explicit DisturbedReadQueue(uint64_t seed) : inner_(make_pread_queue(2)), random_(seed) {}
  // `error_of` is asked for each completion: 0, or the errno it is given.
  void set_errors(std::function<int(const ReadDone&)> error_of) { error_of_ = std::move(error_of); }

  void submit(std::span<const ReadRequest> requests) override { inner_->submit(requests); }
  std::span<const ReadDone> wait(bool block) override;
  int pending() const override { return inner_->pending() + static_cast<int>(arrived_.size()); }
  const char* name() const override { return "disturbed"; }
  int depth() const override { return inner_->depth(); }

 private:
  std::unique_ptr<ReadQueue> inner_;
  std::mt19937_64 random_;
  std::function<int(const ReadDone&)> error_of_;
  std::vector<ReadDone> arrived_;
  ReadDone next_;
};

}  // namespace flashmoe
