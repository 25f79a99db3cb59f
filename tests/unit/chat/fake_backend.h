// A backend that answers from a script, and a face that writes down what it is told.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chat/backend.h"
#include "chat/conversation.h"
#include "chat/face.h"
#include "flashmoe/error.h"

namespace flashmoe {

inline AnswerEvent event_of(AnswerEvent::Kind kind, std::string text) {
  AnswerEvent event;
  event.kind = kind;
  event.text = std::move(text);
  return event;
}

inline AnswerEvent call_event(int number, const std::string& id, const std::string& name,
                              const std::string& arguments) {
  AnswerEvent event = event_of(AnswerEvent::Kind::tool_call, arguments);
  event.call = number;
  event.call_id = id;
  event.name = name;
  return event;
}

inline AnswerEvent done_event(bool called_tools = false, StopReason reason = StopReason::end_of_turn) {
  AnswerEvent event;
  event.reason = reason;
  event.called_tools = called_tools;
  event.usage.prompt_tokens = 10;
  event.usage.cached_tokens = 4;
  event.usage.answer_tokens = 5;
  event.usage.ttft_s = 0.5;
  event.usage.decode_s = 1;
  return event;
}

class FakeAnswer : public Answer {
 public:
  FakeAnswer(std::vector<AnswerEvent> events, const char* failure)
      : events_(events.begin(), events.end()), failure_(failure) {}

  std::optional<AnswerEvent> next(std::chrono::milliseconds) override {
    if (cancelled_ && !finished_) {
      finished_ = true;
      return done_event(false, StopReason::interrupted);
    }
    if (events_.empty() && failure_ != nullptr) {
      finished_ = true;
      throw Error(Fault::io, failure_);
    }
    if (events_.empty()) return std::nullopt;
    AnswerEvent event = events_.front();
    events_.pop_front();
    finished_ = event.kind == AnswerEvent::Kind::done;
    return event;
  }
  void cancel() override { cancelled_ = true; }
  bool finished() const override { return finished_; }

 private:
  std::deque<AnswerEvent> events_;
  const char* failure_;
  bool cancelled_ = false, finished_ = false;
};

class FakeBackend : public Backend {
 public:
  std::unique_ptr<Answer> ask(const std::string& request_json, const GenerateOptions&) override {
    requests.push_back(Json::parse(request_json));
    std::vector<AnswerEvent> answer = {done_event()};
    if (!answers.empty()) {
      answer = answers.front();
      answers.pop_front();
    }
    cache.hits += 3;
    cache.misses += 1;
    return std::make_unique<FakeAnswer>(answer, failure);
  }
  std::string model() const override { return "fake"; }
  std::optional<Stats> stats() override {
    Stats stats;
    stats.cache = cache;
    return stats;
  }
  std::string stats_text() override { return "  fake statistics\n"; }

  void answers_text(const std::string& text) {
    answers.push_back({event_of(AnswerEvent::Kind::content, text), done_event()});
  }
  void calls(const std::string& name, const std::string& arguments) {
    answers.push_back({call_event(0, "c" + std::to_string(answers.size()), name, ""), call_event(0, "", "", arguments),
                       done_event(true)});
  }

  std::deque<std::vector<AnswerEvent>> answers;
  std::vector<Json> requests;
  CacheStats cache;
  const char* failure = nullptr;
};

class FakeFace : public Face {
 public:
  void status(const std::string&) override {}
  void thinking(std::string_view piece) override { log += "(" + std::string(piece) + ")"; }
  void content(std::string_view piece) override {
    log += piece;
    if (stop_after_content) stop = true;
  }
  void end_answer() override { log += "|"; }
  void call(const std::string& text) override { log += "[" + text + "]"; }
  Permission confirm(const std::string& always_means) override {
    asked.push_back(always_means);
    if (permissions.empty()) return Permission::no;
    const Permission given = permissions.front();
    permissions.pop_front();
    return given;
  }
  void result(const std::string& text) override { log += "{" + text + "}"; }
  void note(const std::string& text) override { notes.push_back(text); }
  void print(const std::string& text) override { log += text; }
  void footer(const TurnTotals& totals) override { footers.push_back(totals); }
  bool stop_wanted() override { return stop; }

  std::string log;
  std::vector<std::string> notes, asked;
  std::deque<Permission> permissions;
  std::vector<TurnTotals> footers;
  bool stop = false, stop_after_content = false;
};

}  // namespace flashmoe
