#include "support/slow_read_queue.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"

namespace flashmoe {

void SlowReadQueue::submit(std::span<const ReadRequest> requests) {
  for (const ReadRequest& request : requests) waiting_.push_back({request, now_ns() + ns_of_(request)});
}

std::span<const ReadDone> SlowReadQueue::wait(bool block) {
  done_.clear();
  if (waiting_.empty()) return done_;
  const auto sooner = [](const Waiting& a, const Waiting& b) { return a.done_ns < b.done_ns; };
  const uint64_t first = std::min_element(waiting_.begin(), waiting_.end(), sooner)->done_ns;
  while (block && now_ns() < first) std::this_thread::sleep_for(std::chrono::microseconds(50));
  const uint64_t now = now_ns();
  for (size_t i = 0; i < waiting_.size();) {
    if (waiting_[i].done_ns > now) {
      ++i;
      continue;
    }
    done_.push_back({waiting_[i].request.tag, disk_->read(waiting_[i].request), 1});
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return done_;
}

}  // namespace flashmoe
