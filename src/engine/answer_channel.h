// The events of one answer on their way from the engine's thread to whoever reads them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>

#include "flashmoe/service.h"

namespace flashmoe {

class AnswerChannel {
 public:
  // A reader that is slow finds neighbouring events of one kind as one, unless they carry tokens.
  void push(AnswerEvent event);
  void fail(std::exception_ptr error);
  // Throws the Error behind the last event. Nothing when the time is over, or at the end.
  std::optional<AnswerEvent> next(std::chrono::milliseconds patience);

  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }
  bool finished() const { return finished_; }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<AnswerEvent> events_;
  std::exception_ptr error_;
  std::atomic<bool> cancelled_ = false, finished_ = false;
};

}  // namespace flashmoe
