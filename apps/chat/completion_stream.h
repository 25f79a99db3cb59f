// The chunks of a streamed /v1/chat/completions answer, as events of a service.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "flashmoe/service.h"

namespace flashmoe {

class CompletionStream {
 public:
  explicit CompletionStream(std::function<void(AnswerEvent)> on_event);

  // The data of one event. Throws Error{input} for what is no chunk, and for an error that the server reports.
  void data(std::string_view text);
  // "reading 128 of 512 tokens": how far the prompt has been read.
  void comment(std::string_view text);
  // The stream is over: hands out the last event. Throws Error{io} if the answer has no end.
  void end();
  // The client has stopped it: hands out the last event with what is known.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  void emit(AnswerEvent event);
  void hand_out_done();
  std::function<void(AnswerEvent)> on_event_;
  AnswerEvent done_;
  bool finished_ = false;  // a reason came
  bool said_done_ = false;
  const Clock::time_point start_;
  Clock::time_point first_, last_;
  bool begun_ = false;
  bool timed_ = false;  // by the server
  int64_t n_pieces_ = 0;
};

// What a server answered that does not stream: its error's message, or the beginning of the text.
std::string server_error(int status, std::string_view body);

}  // namespace flashmoe
