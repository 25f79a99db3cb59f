// What a scheduler does with answers whose step failed.
#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "engine/scheduler.h"

namespace flashmoe {
namespace {

constexpr int kMostBeginnings = 8;  // of one answer, on a drive that fails again and again

}  // namespace

// One whose last step failed beside others: who has passed that place alone is among them again.
RunningAnswer* Scheduler::next_suspect() {
  for (const auto& answer : running_) {
    if (answer->sequence().n_tokens() < answer->alone_until()) return answer.get();
  }
  return nullptr;
}

void Scheduler::count_failed() {
  const std::lock_guard lock(mutex_);
  ++stats_.n_failed;
  stats_.n_running = static_cast<int>(running_.size());
}

void Scheduler::fail_one(RunningAnswer& answer, const std::exception_ptr& error) {
  const auto removed = remove(answer);
  count_failed();
  removed->fail(error);
}

// A step that failed leaves every sequence in it undefined. They begin again, each alone up to where it was; only who
// fails there once more ends.
void Scheduler::recover(const std::exception_ptr& error) {
  readers_.clear();
  for (const Run& run : runs_) {
    const auto at = std::find_if(running_.begin(), running_.end(),
                                 [&](const auto& answer) { return &answer->sequence() == run.sequence; });
    RunningAnswer& answer = **at;
    const int64_t reached = run.first_position + run.n_rows;
    if (answer.alone_until() >= reached || answer.n_begun_again() == kMostBeginnings) {
      fail_one(answer, error);
      continue;
    }
    answer.set_alone_until(reached);
    try {
      answer.drop_sequence();
      answer.begin_again(resumed(answer.prompt().ids));
    } catch (const Error&) {
      fail_one(answer, std::current_exception());
    }
  }
}

void Scheduler::fail_all(const std::exception_ptr& error) {
  readers_.clear();
  Answers failed = std::move(running_);
  running_.clear();
  for (auto& answer : failed) answer->drop_sequence();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      std::move(waiting_.begin(), waiting_.end(), std::back_inserter(failed));
      waiting_.clear();
    }
    stats_.n_failed += failed.size();
    stats_.n_running = 0;
  }
  for (auto& answer : failed) answer->fail(error);
}

}  // namespace flashmoe
