// Submits the requests of an exchange and sees to it that their answers reach the client, or end when it has gone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flashmoe/service.h"
#include "serve/exchange.h"

namespace flashmoe {

class Answering {
 public:
  // Throws what Service::submit throws; then nothing was started.
  Answering(Service& service, const Asked& asked);

  // The next event of any choice; nothing when none came in time. Throws the Error that ended a choice.
  std::optional<std::pair<size_t, AnswerEvent>> next(std::chrono::milliseconds patience);
  bool finished() const { return n_open_ == 0; }

 private:
  std::vector<std::unique_ptr<Answer>> answers_;  // null once done
  size_t n_open_ = 0, turn_ = 0;
};

// A comment in a stream.
inline constexpr const char* kStillHere = ": still here\n\n";

// Asked a few times a second: is there still somebody to answer, and is the server to go on?
using KeepOn = std::function<bool()>;
// Writes to the client; false when it has gone.
using Write = std::function<bool(const std::string&)>;

// All choices, whole; nothing when keep_on said no.
std::optional<std::vector<Collected>> collect(Answering& answering, size_t n_choices, const KeepOn& keep_on);

// A whole stream. Comments keep it alive while nothing else is to be told: ": reading 512 of 2048 tokens". False when
// the client has gone. Errors are told in the stream.
bool stream(Exchange& exchange, Answering& answering, int64_t prompt_tokens, const KeepOn& keep_on, const Write& write);

}  // namespace flashmoe
