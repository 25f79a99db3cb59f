#include "support/disturbed_read_queue.h"

#include <utility>

namespace flashmoe {

std::span<const ReadDone> DisturbedReadQueue::wait(bool block) {
  while (inner_->pending() > 0) {
    for (ReadDone done : inner_->wait(true)) {
      if (done.error == 0 && error_of_) done.error = error_of_(done);
      arrived_.push_back(done);
    }
  }
  if (arrived_.empty()) return {};
  if (!block && random_() % 2 == 0) return {};
  std::swap(arrived_[random_() % arrived_.size()], arrived_.back());
  next_ = arrived_.back();
  arrived_.pop_back();
  return {&next_, 1};
}

}  // namespace flashmoe
