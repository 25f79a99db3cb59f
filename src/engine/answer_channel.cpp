#include "engine/answer_channel.h"

namespace flashmoe {
namespace {

bool joined(AnswerEvent& before, const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  if (before.kind != event.kind || !before.tokens.empty() || !event.tokens.empty()) return false;
  switch (event.kind) {
    case Kind::waiting:
    case Kind::reading:
      before = event;
      return true;
    case Kind::tool_call:
      if (before.call != event.call) return false;
      [[fallthrough]];
    case Kind::thinking:
    case Kind::content:
      before.text += event.text;
      return true;
    case Kind::done:
      return false;
  }
  return false;
}

}  // namespace

void AnswerChannel::push(AnswerEvent event) {
  const std::lock_guard lock(mutex_);
  if (!events_.empty() && joined(events_.back(), event)) return;
  events_.push_back(std::move(event));
  arrived_.notify_all();
}

void AnswerChannel::fail(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  error_ = std::move(error);
  arrived_.notify_all();
}

std::optional<AnswerEvent> AnswerChannel::next(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  if (finished_) return std::nullopt;
  if (!arrived_.wait_for(lock, patience, [&] { return !events_.empty() || error_; })) return std::nullopt;
  if (events_.empty()) {
    finished_ = true;
    std::rethrow_exception(error_);
  }
  AnswerEvent event = std::move(events_.front());
  events_.pop_front();
  finished_ = event.kind == AnswerEvent::Kind::done;
  return event;
}

}  // namespace flashmoe
